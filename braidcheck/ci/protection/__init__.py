"""Threshold protection: which oracles a change edits, and its waivers."""
