"""Errors that a user can cause, each one line that says what to do; and any error as one line."""

__all__ = "CheckpointError", "GoldenError", "NotAvailable", "UserError"


def in_one_line(error: BaseException) -> str:
    """An error's type and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


class UserError(Exception):
    """A mistake in the call: wrong name, wrong file, wrong option. The command line exits with 2."""

    exit_code = 2


class NotAvailable(UserError):
    """The call is valid but cannot be evaluated here (no golden, no network, no Triton). Exits with 3."""

    exit_code = 3


class CheckpointError(UserError):
    """A checkpoint that cannot be loaded: missing, truncated, of another architecture or with wrong shapes."""


class GoldenError(NotAvailable):
    """A golden that does not match the weights, the corpus, the format or its own hashes."""
