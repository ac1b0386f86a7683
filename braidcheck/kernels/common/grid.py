"""Integer arithmetic of launches. Triton's own functions of these names take 3 us a call outside a kernel."""

from __future__ import annotations


def cdiv(a: int, b: int) -> int:
    """a / b, rounded up; b > 0."""
    return -(-a // b)


def next_power_of_2(n: int) -> int:
    """The smallest power of 2 that is at least n; n > 0."""
    return 1 << (n - 1).bit_length()


def next_of_few(n: int, min_step: int) -> int:
    """The smallest of a few sizes that is at least n; n > 0. They are ``min_step`` apart, a power of 2, or four an
    octave, whichever is more: a fifth at most is padding, or less than ``min_step``."""
    step = max(min_step, next_power_of_2(n) // 8)
    return cdiv(n, step) * step
