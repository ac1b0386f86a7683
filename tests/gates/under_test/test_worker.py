"""The process of a function: what it gives up before it runs any, and what it refuses to open."""

import sys

import pytest

from braidcheck import environment
from braidcheck.gates.under_test import worker
from braidcheck.isolation import privacy, server


def test_it_gives_up_what_it_may_before_it_serves(monkeypatch):
    done = []
    for name in ("drop_privileges", "end_with_parent", "limit_memory"):
        monkeypatch.setattr(privacy, name, lambda name=name: done.append(name))
    monkeypatch.setattr(server, "serve", lambda *_: done.append("serve"))
    monkeypatch.setattr(sys, "argv", ["", "3", "4"])
    worker.main()
    assert done == ["drop_privileges", "end_with_parent", "limit_memory", "serve"]


KERNELS = environment.PACKAGE / "kernels"


@pytest.mark.parametrize("path", ["rms_norm/oracle.py", "rms_norm/../rms_norm/kernel.py", "sample/__pycache__/op.pyc"])
@pytest.mark.parametrize("kind", [str, lambda path: str(path).encode()])
def test_files_of_ops_are_refused(path, kind):
    with pytest.raises(ImportError, match="holds the expected answers"):
        worker._refuse_kernel_files("open", (kind(KERNELS / path), "r", 0))


@pytest.mark.parametrize("about", [KERNELS / "__init__.py", KERNELS / "common" / "rope.py", "/dev/null", 3])
def test_other_files_are_not(about):
    worker._refuse_kernel_files("open", (about if about == 3 else str(about), "r", 0))
