"""Gates: pure functions from evidence to verdicts."""
