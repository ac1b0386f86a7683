"""Played workers, as the tests of paired runs have them."""

from tests.ci.paired.conftest import measure, side  # noqa: F401
