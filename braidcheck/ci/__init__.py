"""What a continuous integration needs: paired runs, threshold protection, history, trend, untrusted artifacts."""
