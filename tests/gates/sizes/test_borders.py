"""Where the sizes gate looks: powers of two, numbers in the code, and changes of the recorded launches."""

import pytest

from braidcheck.gates.sizes import borders
from braidcheck.gates.sizes.launches import Launch


def switched(*places, blocks=0):
    """Launches of another constant from each of ``places`` on, and of one program more from ``blocks`` on."""
    return lambda size: (Launch(("kernel", sum(size >= at for at in places)), (1 + (0 < blocks <= size), 7)),)


@pytest.mark.parametrize("place", [2, 40, 63, 65, 100, 127])
def test_a_switch_between_two_sizes_is_found(place):
    sizes = [1, 64, 128]
    assert sorted(borders.switches(sizes, switched(place), 1)) == [place - 1, place]


def test_a_split_more_is_a_switch():
    assert sorted(borders.switches([1, 64, 128], switched(blocks=97), 1)) == [96, 97]


def test_nothing_is_found_where_nothing_changes():
    assert list(borders.switches([1, 64, 65, 128], switched(65), 1)) == []


def test_of_the_sizes_that_a_gpu_compiles_for_some_stay_and_of_others_all():
    sizes = list(range(1, 101))
    compiled = lambda size: (Launch(("kernel",), (1,), ("kernel", size if size % 2 else 0)),)  # noqa: E731
    kept = borders.affordable(sizes, compiled, (51,))
    assert {size for size in sizes if size % 2 == 0 and size > 2} <= set(kept)  # the first pays for all of them
    odd = [size for size in kept if size % 2]
    assert borders.MAX_COMPILED - 2 <= len(odd) <= borders.MAX_COMPILED + 2
    assert {1, 51, 99} <= set(odd)


def test_multiples_of_the_step_are_looked_at():
    assert borders.allowed({1, 8, 9, 15, 17, 40, 41}, 40, 8) == [8, 16, 24, 40]
    assert sorted(borders.switches([8, 128], switched(50), 8)) == [48, 56]


def test_both_sides_of_powers_of_two_are_on_the_ladder():
    assert {1, 2, 3, 4, 5, 63, 64, 65, 1024, 1025} <= borders.ladder(1024)


def test_numbers_that_may_switch_are_read_from_the_source():
    source = (
        "LIMIT = 300\ndef f(m, a=77):\n    if m > 1 << 12 or m % 48 == 0:\n        g(99, [35])\n    return m < 5000\n"
    )
    assert borders._numbers(source) == {300, 4096, 48, 5000}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("tl.minimum(length, 16384)", {16384}),
        ("block = min(64, max(8, blocks))", {64, 8}),
        ("position & 16383", {16383}),
        ("min(n, int(2e5))", {200000}),
        ("max(eps, 1e-6) < 2.5", set()),
        ("x.to(tl.uint16)", {65536}),
        ("g(99, limit=300)", set()),
    ],
)
def test_limits_masks_and_narrow_types_may_switch(line, found):
    assert borders._numbers(line) == found


def test_far_limit_that_an_op_names_itself_is_looked_at(monkeypatch):
    assert borders.own_limits("attention_decode") == set()
    monkeypatch.setattr(borders, "_numbers", lambda source: frozenset({16, 16383}))
    assert borders.own_limits("attention_decode") == {16383, 16384, 16385}


def test_numbers_of_an_op_are_those_of_all_its_files():
    assert {17, 4096} <= borders.numbers_of("linear_residual")  # MIN_M of the persistent GEMM, MAX_K of the GEMV


def test_drawn_sizes_are_the_same_for_a_seed():
    assert borders.drawn(4096, 20, 3) == borders.drawn(4096, 20, 3) != borders.drawn(4096, 20, 4)
    assert all(1 <= size <= 4096 for size in borders.drawn(4096, 200, 1))
