"""Finds, in all Runs of a machine, the nightly run at which something became slower, and the likely cause."""
