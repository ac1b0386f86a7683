"""The pytest items of a gate run: the gates' and, on a GPU, a project's own tests."""
