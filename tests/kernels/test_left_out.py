"""Ops that cannot be imported: an error of ``find``, until a run says that it tells of them itself."""

import importlib
import sys

import pytest

from braidcheck import kernels

usual = importlib.import_module


@pytest.fixture
def broken(monkeypatch):
    """One op raises when it is imported; what is cached or refused here is for nobody else."""

    def import_module(name, package=None):
        if name == "braidcheck.kernels.rms_norm.op":
            raise RuntimeError("a bad config\nmore")
        return usual(name, package)

    monkeypatch.setattr(kernels.importlib, "import_module", import_module)
    monkeypatch.setattr(kernels, "_left_out", None)
    monkeypatch.setattr(kernels, "_own", kernels._own.__wrapped__)
    monkeypatch.setattr(kernels, "_find", kernels._find.__wrapped__)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])


def test_an_op_that_raises_is_an_error_where_nobody_tells_of_it(broken):
    with pytest.raises(RuntimeError, match="a bad config"):
        kernels.find()


def test_a_run_leaves_it_out_and_says_why(broken):
    kernels.leave_out({})
    assert set(kernels.find()) == {*kernels.names()} - {"rms_norm"}
    assert kernels.left_out() == {"rms_norm": "rms_norm cannot be imported: RuntimeError: a bad config"}


def test_what_would_end_the_process_is_not_imported(broken, monkeypatch):
    monkeypatch.setattr(kernels.importlib, "import_module", usual)
    for name in [name for name in sys.modules if name.startswith("braidcheck.kernels.cache_write")]:
        monkeypatch.delitem(sys.modules, name)
    kernels.leave_out({"cache_write": "cache_write cannot be imported: it ended the process (SIGSEGV)"})
    assert "cache_write" not in kernels.find()
    assert kernels.left_out()["cache_write"].endswith("(SIGSEGV)")
    with pytest.raises(ImportError, match="SIGSEGV"):
        importlib.import_module("braidcheck.kernels.cache_write")
