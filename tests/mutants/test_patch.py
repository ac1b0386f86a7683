"""Patches of syntax trees: what they find, whatever its layout, and what they refuse."""

import ast

import pytest

from braidcheck.mutants.patch import Patch, StalePatch

SOURCE = '''"""A file."""
import triton


def outer(x):
    def inner(y):
        return y + 1
    return inner(x) + 1


class Engine:
    limit = 4

    @property
    def run(self):
        if self.limit > 3: return self.launch(
            self.q,  # [M, K]
            self.k, "gpu",
            BLOCK=self.block, **{},
        )
        elif self.limit:
            # nothing to launch
            self.stop()
        return None


@triton.jit
def last(x):
    return x
'''


def applied(tmp_path, function, old, new, source=SOURCE):
    (tmp_path / "file.py").write_text(source)
    return Patch("file.py", function, old, new).applied(tmp_path)


PLAIN = ast.unparse(ast.parse(SOURCE))


@pytest.mark.parametrize(
    ("function", "old", "new", "text", "instead"),
    [
        ("outer.inner", "y+1", "y - 1", "y + 1", "y - 1"),
        ("Engine", "limit = 4", "limit = 5", "limit = 4", "limit = 5"),
        ("Engine.run", "self.q, self.k", "self.k, self.q", "self.q, self.k", "self.k, self.q"),
        ("Engine.run", "self.k,\n'gpu'", "self.k", ", 'gpu'", ""),
        ("Engine.run", "BLOCK=(self.block)", "BLOCK=8, WARPS=2", "BLOCK=self.block", "BLOCK=8, WARPS=2"),
        ("Engine.run", "BLOCK=self.block", "", "BLOCK=self.block, ", ""),
        ("Engine.run", "(self.limit)  >  3", "self.limit >= 3", "> 3", ">= 3"),
        ("Engine.run", "if self.limit:\n  self.stop()", "if True:\n  pass", "self.limit:\n            self.stop()",
         "True:\n            pass"),
        ("Engine.run", "self.stop()", "self.limit = 0\nself.stop()", "self.stop()",
         "self.limit = 0\n            self.stop()"),
        ("Engine.run", "  return None  # nothing", "", "        return None\n", ""),
        ("last", "triton.jit", "triton.autotune(\n  [])", "triton.jit", "triton.autotune([])"),
        ("", "import triton", "import triton\nimport torch", "import triton", "import triton\nimport torch"),
    ],
)  # fmt: skip
def test_a_patch_is_found_whatever_the_layout(tmp_path, function, old, new, text, instead):
    assert PLAIN.count(text) == 1
    for source in (SOURCE, PLAIN):
        assert ast.unparse(ast.parse(applied(tmp_path, function, old, new, source))) == PLAIN.replace(text, instead)


@pytest.mark.parametrize(
    ("function", "old", "new", "count"),
    [
        ("Engine.run", "self.limit", "4", 2),
        ("", "x", "y", 2),
        ("outer", "return x", "pass", 0),
        ("outer", "inner(x)\nreturn 1", "pass", 0),
        ("Engine.run", "(self.q, self.k)", "self.q", 0),
        ("Engine.run", "self.k, BLOCK=self.block", "self.k", 0),
        ("last", "def last(x): return x", "pass", 0),
    ],
)
def test_what_does_not_stand_exactly_once_is_refused(tmp_path, function, old, new, count):
    with pytest.raises(StalePatch, match=rf"its expression stands {count} times in .*file\.py, must be once"):
        applied(tmp_path, function, old, new)


def test_a_name_that_moved_on_makes_a_patch_stale(tmp_path):
    renamed = SOURCE.replace("self.k", "self.keys")
    with pytest.raises(StalePatch, match=r"stands 0 times in Engine\.run of file\.py"):
        applied(tmp_path, "Engine.run", "self.q, self.k", "self.k, self.q", renamed)
    with pytest.raises(StalePatch, match=r"file\.py defines Engine\.walk 0 times"):
        applied(tmp_path, "Engine.walk", "self.q", "self.k")
    with pytest.raises(StalePatch, match=r"there is no other\.py"):
        Patch("other.py", "", "x", "y").applied(tmp_path)


def test_the_rest_of_the_file_stays_where_it_is(tmp_path):
    text = applied(tmp_path, "Engine.run", "self.q, self.k", "self.k, self.q")
    assert text.splitlines()[-3:] == SOURCE.splitlines()[-3:]
    assert len(text.splitlines()) == len(SOURCE.splitlines())


def test_the_patches_of_one_file_know_nothing_of_each_other(tmp_path):
    first = applied(tmp_path, "outer.inner", "y + 1", "y - 1")
    assert ast.unparse(ast.parse(applied(tmp_path, "Engine", "limit = 4", ""))) == PLAIN.replace("    limit = 4\n", "")
    assert "y - 1" not in applied(
        tmp_path, "", "def last(x): return x", "last = None", SOURCE.replace("@triton.jit\n", "")
    )
    assert applied(tmp_path, "outer.inner", "y + 1", "y - 1") == first


def test_a_number_of_another_type_is_another_number(tmp_path):
    for other in ("4.0", "True", "4j"):
        with pytest.raises(StalePatch, match="stands 0 times"):
            applied(tmp_path, "Engine", f"limit = {other}", "limit = 5")
