"""Engines that are not ours: what a gate asks of one, the process that it runs in, and adapters."""
