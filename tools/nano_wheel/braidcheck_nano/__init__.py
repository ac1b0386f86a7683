"""Data only: ``nano`` is the checkpoint, ``nano_golden`` what Hugging Face transformers computed of it."""
