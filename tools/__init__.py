"""What only the maintainers run; not part of the wheel."""
