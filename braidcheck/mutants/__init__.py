"""Deliberate faults that some gate must catch, and equivalent implementations that none may."""
