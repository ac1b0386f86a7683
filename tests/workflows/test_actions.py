"""The make-believe GitHub of the rehearsal: it fails where GitHub would."""

import importlib
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHA = "0" * 40
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def actions(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("actions")


@pytest.fixture
def play(actions, tmp_path):
    """Runs jobs; each job's result, each step's status, and what the last one said."""

    def run(jobs):
        site = actions.Site(tmp_path / "site", tmp_path, {"event": {"title": "a title"}}, "/usr/bin:/bin")
        steps = []
        results = actions.run({"jobs": jobs}, site, steps.append)
        return results, {step.name: step.status for step in steps}, steps[-1].said

    return run


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("github.event.title", "a title"),
        ("github.event.nothing.there || 'else'", "else"),
        ("github.event.title == 'a title' && !cancelled()", True),
        ("github.event.title != 'a title' || (1 == 2)", False),
        ("steps.first.outputs.number", ""),
    ],
)
def test_expressions(actions, text, value):
    contexts = {"github": {"event": {"title": "a title"}}, "cancelled()": False}
    assert actions.evaluate(text, contexts) == value


def test_an_expression_that_is_not_known_is_an_error(actions):
    with pytest.raises(ValueError, match="does not know"):
        actions.evaluate("a[0]", {})


def test_a_failing_step_fails_its_job_and_what_needs_it(play):
    first = {"steps": [{"name": "bad", "run": "false | cat"}, {"name": "after", "run": "true"}]}
    first["steps"] += [{"name": "anyway", "if": "${{ !cancelled() }}", "run": "true"}]
    first["steps"] += [{"name": "report", "if": "${{ failure() }}", "run": "true"}]
    second = {"needs": "first", "steps": [{"name": "never", "run": "true"}]}
    third = {"needs": ["first"], "if": "${{ !cancelled() }}", "steps": [{"name": "still", "run": "true"}]}
    results, steps, _ = play({"third": third, "second": second, "first": first})
    assert results == {"first": "failure", "second": "skipped", "third": "success"}
    assert steps == {"bad": "failed", "after": "skipped", "anyway": "ok", "report": "ok", "still": "ok"}


def test_outputs_and_environments_reach_later_steps(play):
    steps = [{"id": "a", "name": "a", "run": 'echo "number=$N" >> "$GITHUB_OUTPUT"', "env": {"N": "${{ 4 }}"}}]
    steps += [{"name": "b", "if": "${{ steps.a.outputs.number }}", "run": 'test "$M$WHO" = 4you', "env": {}}]
    steps[1]["env"]["M"] = "${{ steps.a.outputs.number }}"
    steps += [{"name": "c", "if": "${{ steps.b.outputs.number }}", "run": "false"}]
    results, found, _ = play({"job": {"env": {"WHO": "you"}, "steps": steps}})
    assert (results["job"], found) == ("success", {"a": "ok", "b": "ok", "c": "skipped"})


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"uses": "actions/checkout@v5"}, "not pinned"),
        ({"uses": f"actions/nobody-knows-it@{SHA}"}, "nobody_knows_it"),
        ({"uses": f"actions/checkout@{SHA}", "with": {"fetch-depth": 0}}, "credentials would be persisted"),
        ({"uses": f"actions/upload-artifact@{SHA}", "with": {"name": "run", "path": "run.json"}}, "no run.json"),
        ({"uses": f"actions/download-artifact@{SHA}", "with": {"name": "run", "path": "."}}, "No such file"),
        ({"uses": f"actions/deploy-pages@{SHA}"}, "no page"),
    ],
)
def test_an_action_fails_where_githubs_would(play, step, says):
    results, _, said = play({"job": {"steps": [step]}})
    assert results == {"job": "failure"}
    assert says in said
