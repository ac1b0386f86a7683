"""Mutants of the evaluation: comparison, gates, goldens, merging, trend, protection, reports."""
