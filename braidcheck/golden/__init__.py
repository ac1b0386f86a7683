"""Goldens: recorded outputs of HF transformers, with recording, storage and lookup, the nano model and its corpus."""
