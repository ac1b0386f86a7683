"""Selects and orders the items of a gate run, and estimates its duration."""
