"""Deliberate faults that some gate must catch, and honest variants that none may."""
