"""Python processes of tests, forked from one that has imported what is slow to import.

``sys.executable`` is then a program that asks ``server.py`` for a child with its own arguments, environment, folder and
files, passes signals on to it, and ends as it ended. What it cannot ask for so, such as Python's own options, it starts
as it is.
"""
