"""Where a failure is shown: the kernel's file and line, of this package or of the project around."""

import pytest

from braidcheck import external_ops
from braidcheck.report.source import place
from braidcheck.result import Status, Verdict

KERNEL = "import triton\n\n\n@triton.jit\ndef _silu(x):\n    pass\n\n\ndef silu(x):\n    pass\n"
DECLARATION = "\n\nOP = Op(\n    call=silu,\n)\n"


def bad(op):
    return Verdict("accuracy", f"{op}[a]", Status.FAIL, "too far")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Declares ops in files of a project in which we are; what is found of the op ``silu`` and of another."""

    def make(then=tmp_path, **files):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / "__init__.py").touch()
        for name, text in files.items():
            (tmp_path / "lib" / f"{name}.py").write_text(text)
        with external_ops.announced(["lib"]):
            monkeypatch.chdir(then)
            assert place(bad("other")) is None
            return place(bad("silu"))

    return make


def test_an_op_of_ours():
    file, line = place(bad("rms_norm"))
    assert file == "braidcheck/kernels/rms_norm/kernel.py"
    assert line > 1
    assert place(bad("no_such_op")) is None


def test_an_op_of_the_project_in_one_file(project):
    assert project(one=KERNEL + DECLARATION) == ("lib/one.py", 5)


def test_an_op_whose_kernel_is_imported(project):
    assert project(kernels=KERNEL, ops="from lib.kernels import silu" + DECLARATION) == ("lib/kernels.py", 5)


def test_an_op_outside_of_the_project_has_no_place_in_it(project, tmp_path_factory):
    assert project(tmp_path_factory.mktemp("elsewhere"), one=KERNEL + DECLARATION) is None
