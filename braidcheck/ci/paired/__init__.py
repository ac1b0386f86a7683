"""Times base and change in interleaved rounds on one GPU, each in its own process."""
