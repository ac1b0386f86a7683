"""Where a mutant changes a source, and what it changes there."""

import ast

import pytest

from braidcheck.mutants.syntax import assigned, difference

SOURCE = """import x


# a comment
def f(a,  b):
    c = a + b  # the sum
    if c > 1:
        c = g(c)
    return c
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "diff"),
    [
        ("a + b", "a - b", 6, ["-    c = a + b", "+    c = a - b"]),
        ("c > 1", "c >= 1", 7, ["-    if c > 1:", "+    if c >= 1:"]),
        ("g(c)", "c", 8, ["-        c = g(c)", "+        c = c"]),
        ("    return c\n", "", 9, ["-    return c"]),
        ("# the sum", "# a sum", 6, ["-    c = a + b  # the sum", "+    c = a + b  # a sum"]),
    ],
)
def test_a_change_is_found_where_it_is_written(old, new, line, diff):
    assert difference(SOURCE, SOURCE.replace(old, new)) == (line, diff)


def test_how_a_function_is_written_is_no_change():
    plain = SOURCE.replace("a,  b", "a, b").replace("  # the sum", "").replace("c > 1", "c < 1")
    assert difference(SOURCE, plain) == (7, ["-    if c > 1:", "+    if c < 1:"])


def test_a_name_has_a_value_after_the_statement_that_first_assigns_it():
    written = "def f(a):\n    b, (c, d[a]) = g(\n        b\n    )\n    b = e\n    h: int = c\n    return (i := h)\n"
    assert assigned(ast.parse(written)) == {"b": 4, "c": 4, "h": 6, "i": 7}
