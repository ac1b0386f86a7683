"""Mutants of what judges: comparison, evaluation, goldens, merging, trend, protection, reports."""
