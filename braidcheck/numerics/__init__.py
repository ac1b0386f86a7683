"""Rounding analysis of references and bounds, in float64, and how errors are measured."""
