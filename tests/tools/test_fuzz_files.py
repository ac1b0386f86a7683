"""Damaged files: refused in one line, or read as they were; ``python -m tools.fuzz_files`` tries more of them."""

import random

import pytest

from tools import fuzz_files

COUNT = 60
KINDS = {kind.name: kind for kind in fuzz_files.kinds() if len(kind.data) < 1_000_000}


@pytest.mark.parametrize("name", KINDS)
def test_damage_is_noticed_or_changes_nothing(name):
    found = list(fuzz_files.outcomes(KINDS[name], COUNT, random.Random(1)))
    assert not [said for said in found if fuzz_files.is_fault(KINDS[name], said[0])]
    assert any(outcome == fuzz_files.REFUSED for outcome, _ in found)


def test_a_reader_that_breaks_is_a_fault(tmp_path):
    def read(path):
        return {}[path.read_bytes()] if path.read_bytes() != b"abc" else "abc"

    kind = fuzz_files.Kind("broken", "a", b"abc", read)
    found = [outcome for outcome, _ in fuzz_files.outcomes(kind, 5, random.Random(1))]
    assert found == [fuzz_files.TRACEBACK] * 5
    blind = fuzz_files.Kind("blind", "a", b"abc", lambda path: path.read_bytes())
    assert {outcome for outcome, _ in fuzz_files.outcomes(blind, 5, random.Random(1))} == {fuzz_files.OTHER}
    assert fuzz_files.is_fault(blind, fuzz_files.OTHER)
