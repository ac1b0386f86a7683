"""The loader gate."""
