"""The out-of-bounds gate."""
