"""Faults in the Triton source of another project, for its own tests to find."""
