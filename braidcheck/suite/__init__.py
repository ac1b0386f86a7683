"""What pytest runs in a gate run: the gates' items and, on a GPU, a project's own tests."""
