"""Ours beside others, timed in one process, taking turns: decode, prefill, single ops; each answer checked first."""

OURS = "braidcheck"
