"""Configuration: what is read from where, what is refused, and that the declaration is all there is."""

from pathlib import Path

import pytest

from braidcheck import config
from braidcheck.cli import load
from braidcheck.cli.gate import Lane
from braidcheck.config import KEYS, Kind, Source
from braidcheck.errors import UserError

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN, END = "<!-- keys: begin -->\n", "\n<!-- keys: end -->"


@pytest.fixture
def project(tmp_path):
    """Writes a pyproject.toml with this table; the project's folder."""

    def write(table):
        (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'it'\n[tool.braidcheck]\n{table}\n")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("worker = 2", "has no key 'worker'; did you mean workers?"),
        ("tolerance = 0.1", "has no key 'tolerance'; the keys are ops, gates, lane"),
        ("workers = 'two'", "workers of [tool.braidcheck] is 'two', a string, must be a whole number of at least 1"),
        ("workers = true", "is True, a boolean, must be a whole number"),
        ("workers = 0", "is 0, a whole number, must be a whole number of at least 1"),
        ("workers = 2.0", "is 2.0, a number, must be a whole number"),
        ("minutes = nan", "is nan, a number, must be a number of at least 1"),
        ("budget = inf", "is inf, a number, must be a number of at least 0"),
        ("lane = 'moon'", "is 'moon', a string, must be one of auto, interpret, gpu"),
        ("ops = 'mylib'", "is 'mylib', a string, must be a list of strings"),
        ("gates = ['accuracy', 3]", "is ['accuracy', 3], a list, must be a list of strings"),
        ("[tool.braidcheck.out]", "is a table, must be a path"),
        ("engine = 'http://localhost:8000/v1'", "is an address; give it by --engine or BRAIDCHECK_ENGINE"),
        ("lane = ", "cannot be read: "),
        ("lane = " + "[" * 3000, "cannot be read: "),
    ],
)
def test_a_wrong_table_is_one_line(project, table, says):
    with pytest.raises(UserError) as refused:
        config.resolve(project(table), {})
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "pyproject.toml" in str(refused.value)


def test_a_tool_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool]\nbraidcheck = 3\n")
    with pytest.raises(UserError, match=r"tool\.braidcheck is 3, a whole number, must be a table"):
        config.resolve(tmp_path, {})


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("BRAIDCHECK_WORKERS", "two", "BRAIDCHECK_WORKERS is 'two', a string, must be a whole number of at least 1"),
        ("BRAIDCHECK_BUDGET", "nan", "must be a number of at least 0"),
        ("BRAIDCHECK_LANE", "moon", "must be one of auto, interpret, gpu"),
    ],
)
def test_a_wrong_variable_is_one_line(tmp_path, variable, text, says):
    with pytest.raises(UserError) as refused:
        config.resolve(tmp_path, {variable: text})
    assert says in str(refused.value)


def test_environment_is_before_table_and_table_before_default(project):
    folder = project("workers = 2\nlane = 'gpu'")
    found = config.resolve(folder, {"BRAIDCHECK_WORKERS": "3", "BRAIDCHECK_GATES": "accuracy,fence"})
    said = {name: (found[name].value, found[name].source) for name in ("workers", "lane", "gates", "minutes")}
    assert said == {
        "workers": (3, Source.ENVIRONMENT),
        "lane": ("gpu", Source.TABLE),
        "gates": (["accuracy", "fence"], Source.ENVIRONMENT),
        "minutes": (20.0, Source.DEFAULT),
    }
    assert (found["lane"].place, found["workers"].place) == (str(folder / "pyproject.toml"), "BRAIDCHECK_WORKERS")


def test_paths_of_the_table_are_the_projects_from_any_folder(project):
    folder = project("out = 'results'\nengine = 'mine.py:Engine'\nmodel = 'checkpoints/a'\ndataset = 'wikitext'")
    (folder / "mine.py").touch()
    (folder / "checkpoints" / "a").mkdir(parents=True)
    (folder / "deep").mkdir()
    found = config.resolve(folder / "deep", {"BRAIDCHECK_TESTS": "tests"})
    said = [found[name].value for name in ("out", "engine", "model", "dataset", "tests")]
    assert said == ["../results", "../mine.py:Engine", "../checkpoints/a", "wikitext", "tests"]


def test_without_a_project_all_is_default(tmp_path):
    (tmp_path / "pyproject.toml").write_text("")
    assert {value.source for value in config.resolve(tmp_path, {}).values()} == {Source.DEFAULT}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_is_an_option_of_its_commands(key):
    """With the same default, bounds and choices, so that none can hold what no option takes, such as a tolerance."""
    for name in key.commands:
        leaves = getattr(load(name), "commands", {name: load(name)}).values()
        options = [one for leaf in leaves for one in leaf.params if key.flag in one.opts]
        assert [option.name for option in options] == [key.name]
        assert (options[0].min, options[0].multiple) == (key.minimum, key.kind == Kind.NAMES)
        if key.name != "workers" or name == "gate":  # soak takes one, the others as many as there are cores
            assert str(options[0].default or "") == str(key.default or "")


def test_lanes_are_those_of_the_commands():
    assert KEYS["lane"].choices == tuple(Lane)


def test_what_needs_a_reviewer_is_told_from_what_does_not(project):
    folder = project("workers = 1\nout = 'a'\nbudget = 1")
    assert config.protected(folder) == {"budget": 1}
    assert {name for name, key in KEYS.items() if not key.protected} == {"workers", "out"}


def test_page_has_the_keys():
    text = PAGE.read_text(encoding="utf-8")
    assert text.split(BEGIN)[1].split(END)[0] == config.markdown()
