"""Goldens: what HF transformers answered, how it is recorded, kept and found, with the nano model and its corpus."""
