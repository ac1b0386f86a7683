"""Finds, in all Runs of a machine, the night on which something got slower, and what moved."""
