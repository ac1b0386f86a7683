"""Runs a function in its own process: it gets arguments and returns bytes, which the parent process evaluates.
``process.py`` starts, calls and ends the process, ``channel.py`` carries JSON and never pickles, ``memory.py`` shares
the arguments' memory, ``exchange.py`` is the parent's side of a call and ``server.py`` the child's.
"""
