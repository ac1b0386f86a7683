"""Ahead-of-time compilation: every kernel as its wrapper launches it, compiled for GPUs that need not be here."""
