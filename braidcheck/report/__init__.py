"""Renderings of a Run: terminal, Markdown, progress while it is made."""
