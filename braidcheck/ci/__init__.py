"""For continuous integration: paired runs, threshold protection, history, trend, untrusted artifacts."""
