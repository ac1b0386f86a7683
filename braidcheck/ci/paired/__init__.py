"""Base and change timed in interleaved rounds on one GPU, in processes of their own."""
