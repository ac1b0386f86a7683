"""Renders a Run: terminal, Markdown, JUnit, SARIF, HTML, and progress while it runs."""
