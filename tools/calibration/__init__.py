"""Measures how often the paired gate is wrong: A/A pairs and injected slowdowns."""
