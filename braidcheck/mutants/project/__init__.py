"""Faults in the Triton source of another project, of which its own tests are asked."""
