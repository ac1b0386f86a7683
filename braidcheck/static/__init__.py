"""Ahead-of-time compilation: every kernel as its wrapper launches it, for GPUs that need not be present."""
