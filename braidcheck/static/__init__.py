"""The static lane: every kernel as its wrapper launches it, compiled for GPUs that need not be here."""
