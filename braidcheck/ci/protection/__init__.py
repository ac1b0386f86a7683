"""Threshold protection: which oracles a change edits, and the waivers that it carries."""
