"""The bound on an engine's distance from HF, over documents."""

from braidcheck.gates import surfaces

ROWS = [{"document": document, "kl": 3.0, "kl_floor": 2.0} for document in range(surfaces.MIN_DOCUMENTS)]


def test_the_lower_bound_is_a_ratio_of_sums_over_documents():
    assert surfaces.lower_bound(ROWS) == 1.5
    twice = [row | {"kl": 1.0} for row in ROWS]
    assert surfaces.lower_bound(ROWS + twice) == 1.0  # (3 + 1) / (2 + 2) in each document


def test_answers_without_a_floor_count_neither_as_distance_nor_as_documents():
    without = [row | {"kl_floor": 0.0, "document": row["document"] + 100} for row in ROWS]
    assert surfaces.lower_bound(ROWS + without) == 1.5
    assert surfaces.lower_bound(without) is None
    assert surfaces.lower_bound(ROWS[1:] + without) is None  # too few documents


def test_the_lower_bound_lies_below_the_ratio_where_documents_differ():
    uneven = [row | {"kl": 3.0 * (row["document"] % 2)} for row in ROWS]
    assert 0 <= surfaces.lower_bound(uneven) < 0.75
