"""Played workers, as the tests of paired runs have them."""

from tests.ci.paired.conftest import observe, side  # noqa: F401
