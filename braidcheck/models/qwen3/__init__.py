"""Qwen3 built from the kernels: config, weights, attention, decode engine."""
