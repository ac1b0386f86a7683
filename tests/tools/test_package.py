"""What is held against a core wheel: its size, nano in it, strange files, lost files, one dependency too many."""

import re
import tomllib
import zipfile

import pytest

import braidcheck
from tools import package

PYPROJECT = tomllib.loads((package.ROOT / "pyproject.toml").read_text())["project"]
INFO = "braidcheck-0.1.0.dist-info/METADATA"


@pytest.fixture
def wheel(tmp_path):
    """Makes a wheel that is right but for what is given: files by name, dependencies."""

    def make(files=(), needs=package.MAX_DEPENDENCIES, lost=None):
        lines = [f"Requires-Dist: package{number}" for number in range(needs)]
        lines += ["Requires-Dist: bokeh>=3.8; extra == 'report'"]
        path = tmp_path / "braidcheck-0.1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(INFO, "\n".join(["Name: braidcheck", *lines]) + "\n\nAbout\n")
            for name in package.NEEDED:
                if name != lost:
                    archive.writestr(f"braidcheck/{name}", "")
            for name, content in dict(files).items():
                archive.writestr(name, content)
        return list(package.faults(path))

    return make


def test_a_right_wheel_has_no_fault(wheel):
    assert wheel() == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"files": {"braidcheck/golden/nano/model.safetensors": "x"}}, "nano's"),
        ({"files": {"tests/conftest.py": ""}}, "holds tests/conftest.py"),
        ({"files": {"braidcheck/large.bin": bytes(package.MAX_CORE_BYTES)}}, "bytes, over 1,000,000"),
        ({"lost": "py.typed"}, "lacks py.typed"),
        ({"needs": package.MAX_DEPENDENCIES + 1}, "11 mandatory dependencies"),
    ],
)
def test_a_wrong_wheel_is_refused_in_a_line(wheel, given, says):
    (line,) = wheel(**given)
    assert says in line


def test_two_builds_that_differ_are_named():
    (line,) = package._differences({"a.whl": "1", "b.whl": "2"}, {"a.whl": "1", "b.whl": "3"})
    assert "b.whl is not reproducible" in line


def test_nano_is_pinned_at_this_version():
    assert PYPROJECT["optional-dependencies"]["nano"] == [f"braidcheck-nano=={braidcheck.__version__}"]


def test_the_core_has_few_dependencies_and_names_the_pythons_that_it_runs_on():
    assert len(PYPROJECT["dependencies"]) <= package.MAX_DEPENDENCIES
    named = re.findall(r"Python :: 3\.(\d+)", "\n".join(PYPROJECT["classifiers"]))
    assert [f">=3.{named[0]}", named] == [PYPROJECT["requires-python"], sorted(named, key=int)]
