"""Threshold protection: which judges a change edits, and the waivers that it carries."""
