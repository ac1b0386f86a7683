"""A function in a process of its own: it gets arguments and gives bytes, and is asked from a process that decides.

``process.py`` starts, asks and ends the process, ``channel.py`` carries JSON and never pickles, ``memory.py`` shares
the arguments' memory, ``exchange.py`` is the asking side of one call and ``server.py`` the other one.
"""
