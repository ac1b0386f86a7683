"""What separates right from wrong, from outcomes alone."""

import pytest

from braidcheck.gates.surfaces.finding import separate

RIGHT = {
    "phase": "prefill", "batch": 1, "row": 0, "ragged": False, "after": [], "before": 0, "together": False,
    "document": 0, "length": 8, "last": 7, "positions": 8, "wrong_at": None, "used": 0.0, "kl": 0.0, "kl_floor": 0.0,
    "what": "", "finite": True,
}  # fmt: skip


def made(**changes):
    return RIGHT | changes


def test_nothing_wrong_has_no_finding():
    assert separate([[made()], []]) == ""


def test_all_wrong_is_said():
    assert separate([[made(wrong_at=3), made(wrong_at=1)]]) == "on every surface, first at position 1"


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ({"after": ["another request"]}, {}, "only after another request"),
        ({"batch": 8}, {"batch": 2}, "only in batches of 8 and more"),
        ({"batch": 8, "row": 3}, {"batch": 8, "row": 0}, "only in rows after a batch's first"),
        ({"batch": 8, "ragged": True}, {"batch": 8}, "only in ragged batches"),
        ({"together": True}, {}, "only for concurrent requests"),
        ({"phase": "stream"}, {"phase": "greedy"}, "only in streams"),
        ({"last": 70, "wrong_at": 64}, {"last": 60}, "only from position 64 on"),
        ({"batch": 2, "phase": "greedy"}, {"batch": 2}, "only in greedy answers"),
    ],
)
def test_the_rule_that_separates_is_said(wrong, right, said):
    assert separate([[made(wrong_at=4) | wrong], [made(**right)], [made()]]).startswith(said)


def test_a_large_cell_counts_as_much_as_a_small_one():
    many = [made(after=["another request"], batch=257, phase="greedy") for _ in range(257)]
    cells = [[made(wrong_at=0, after=["another request"])], many, [made()]]
    assert separate(cells).startswith("only outside of batches and after another request")


def test_a_rule_with_exceptions_counts_them():
    some = [made(batch=4, row=1, wrong_at=1), made(batch=4, row=1)]
    assert "1 of 2 are wrong" in separate([some, [made()], [made(batch=1)]])


def test_overflow_is_asked_about_where_all_that_is_wrong_is_not_finite():
    nan, off = made(wrong_at=1, finite=False), made(wrong_at=1)
    assert "Float16 ends at 65,504" in separate([[nan, nan], [made()]])
    assert "65,504" not in separate([[nan, off], [made()]])
