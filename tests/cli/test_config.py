"""``braidcheck config``, and that commands take what is configured."""

import json

import pytest

from braidcheck.cli import protect
from braidcheck.environment import PACKAGE
from braidcheck.errors import NotAvailable


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Writes the table of the working directory's project."""
    monkeypatch.chdir(tmp_path)

    def write(table):
        (tmp_path / "pyproject.toml").write_text(f"[tool.braidcheck]\n{table}\n")

    return write


def rows(completed):
    assert completed.code == 0
    return {row["key"]: (row["value"], row["source"]) for row in json.loads(completed.out)["config"]}


def test_each_value_and_where_it_comes_from(configure, run, monkeypatch):
    configure("workers = 2\nminutes = 5\nlane = 'interpret'")
    monkeypatch.setenv("BRAIDCHECK_MINUTES", "7")
    found = rows(run("config", "--json", "gate", "--lane", "gpu"))
    assert found["lane"] == ("gpu", "command line")
    assert found["minutes"] == (7.0, "environment")
    assert found["workers"] == (2, "table")
    assert found["model"] == ("nano", "default")
    assert rows(run("config", "--json", "merge", "a.json")) == {"out": ("braidcheck-out", "default")}
    shown = run("config").out
    assert "environment: BRAIDCHECK_MINUTES" in shown
    assert "pyproject.toml" in shown


def test_a_wrong_table_stops_what_reads_it_and_nothing_else(configure, run, refused):
    configure("worker = 2")
    for words in (("config",), ("gate",), ("check", "rms_norm", "x.py:f"), ("list",), ("config", "gate")):
        refused(2, "has no key 'worker'; did you mean workers?", *words)
    assert run("gate", "--help").code == 0
    assert run("history", "--help").code == 0


def test_a_wrong_call_is_a_wrong_call(configure, refused):
    configure("")
    refused(2, "No such option: --no-such", "config", "gate", "--no-such")
    refused(2, "nonsense", "config", "nonsense")


def test_gate_takes_what_is_configured_and_the_command_line_before_it(suite, configure, run, result):
    configure("gates = ['accuracy', 'vacuity']\nout = 'results'\nlane = 'interpret'\nworkers = 1")
    assert run("gate").code == 0
    made, _, _ = result("results")
    assert {verdict.gate for verdict in made.verdicts} == {"accuracy", "vacuity"}
    assert made.environment["command"] == "braidcheck gate --lane interpret --gate accuracy --gate vacuity"


def test_a_gate_that_is_none_is_named(suite, refused):
    refused(2, "no gate 'acuracy'; did you mean accuracy?", "gate", "--gate", "acuracy")


def test_what_is_kept_for_kernels_is_nothing_to_an_engine(configure, refused):
    configure("gates = ['accuracy']\nbudget = 3")
    refused(2, "no file nowhere.py", "gate", "--engine", "nowhere.py:Engine")
    refused(2, "--engine runs all gates of an engine", "gate", "--engine", "nowhere.py:Engine", "--budget", "3")


def test_results_never_go_to_a_projects_own_folder(suite, configure, refused, tmp_path):
    configure("out = '.'")
    (tmp_path / "tests").mkdir()
    refused(2, "is a project's folder", "gate", "--lane", "interpret")
    assert (tmp_path / "tests").is_dir()


def test_each_tree_is_protected_by_its_own_table(monkeypatch, tmp_path, configure, run):
    """What the change's table leaves out the base's oracles ask all the same."""
    given = []

    def attend(command, env, **streams):
        given.append(streams["cwd"])
        return False, 3

    monkeypatch.setattr(protect, "attend", attend)
    request = protect.Request(PACKAGE.parent, "interpret", (), None, tmp_path / "out")
    with pytest.raises(NotAvailable):
        request.run(tmp_path / "base", "the base's oracles")
    assert given == [tmp_path / "base"]
    configure("lane = 'gpu'\nworkers = 2")
    assert rows(run("config", "--json", "protect", "main")) == {"workers": (2, "table")}
