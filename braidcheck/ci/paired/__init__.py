"""Base and change timed in turns on one GPU, in processes of their own."""
