"""Measures how often and how late the trend detector finds a step, beside other rules."""
