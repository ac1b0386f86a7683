"""The engine gate."""
