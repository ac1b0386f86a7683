"""``gate --shard`` and ``braidcheck merge`` over a suite of fakes: the parts are the whole, or are refused."""

import json

import pytest

from braidcheck import checksum, environment
from braidcheck.result import SCHEMA, Run, Status, Verdict
from braidcheck.schedule.shards import suite_of

ACCURACY = """
    @pytest.mark.parametrize("what", [f"op[{letter}]" for letter in "abcdefg"])
    def test_it(what):
        status = Status.FAIL if what == "op[c]" else Status.PASS
        return Verdict("accuracy", what, status, "as asked", value=0.5, limit=1.0)
"""
COHERENCE = """
    @pytest.mark.parametrize("what", ["kl", "nll", "flips"])
    def test_it(what):
        return Verdict("coherence", what, Status.PASS, "fine")
"""


@pytest.fixture
def committed(monkeypatch):
    monkeypatch.setattr(environment, "commit", lambda: "c0ffee" * 7)


@pytest.fixture
def sharded(suite, run, committed, tmp_path):
    """Runs the suite in two shards; the folders of their Runs by shard."""
    suite(accuracy=ACCURACY, coherence=COHERENCE)
    codes = [run("gate", "--workers", 1, "--shard", f"{index}/2", "--out", f"shard-{index}").code for index in (1, 2)]
    assert sorted(codes) == [0, 1]
    return [tmp_path / f"shard-{index}" / "run.json" for index in (1, 2)]


def verdicts(run):
    return {
        verdict.id: (verdict.status, verdict.message, verdict.value, verdict.limit, verdict.reproduce)
        for verdict in run.verdicts
    }


def test_two_shards_merge_to_the_verdicts_of_the_whole(sharded, run, result, tmp_path):
    parts = [Run.from_json(path.read_text()) for path in sharded]
    assert not set(parts[0].expected) & set(parts[1].expected)
    assert [part.environment["shard"] for part in parts] == ["1/2", "2/2"]
    gates = [{verdict.gate for verdict in part.verdicts} for part in parts]
    assert "speed" in gates[0] - gates[1]
    assert ("coherence" in gates[0]) != ("coherence" in gates[1])  # its items share one measurement
    assert run("gate", "--workers", 1, "--out", "whole").code == 1
    completed = run("merge", *sharded, "-o", "merged")
    assert completed.code == 1
    whole, _, _ = result("whole")
    merged, body, junit = result("merged")
    assert verdicts(merged) == verdicts(whole)
    assert sorted(merged.expected) == sorted(whole.expected)
    assert merged.environment["command"] == whole.environment["command"]
    assert body["exit_code"] == 1
    assert junit.count("<testcase ") == len(whole.verdicts)
    assert (tmp_path / "merged" / "summary.md").exists()
    assert "fail accuracy op[c]" in completed.out
    assert "FAIL: 1 fail, 13 pass" in completed.out.splitlines()[-1]


def test_what_is_shared_out_is_what_was_asked_for(sharded, run, result, tmp_path):
    for index in (1, 2):
        assert run("gate", "--workers", 1, "-k", "op", "--shard", f"{index}/2", "--out", f"shard-{index}").code in (
            0,
            1,
        )
    assert sorted(len(Run.from_json(path.read_text()).expected) for path in sharded) == [3, 4]
    assert run("merge", *sharded, "-o", "merged").code == 1
    merged = result("merged")[0]
    assert {verdict.gate for verdict in merged.verdicts} == {"accuracy"}
    assert len(merged.verdicts) == 7
    assert merged.environment["command"] == "braidcheck gate --lane interpret -k op"


def test_a_shard_that_lost_an_item_merges_and_stays_an_error(sharded, run, result):
    lost = Run.from_json(sharded[0].read_text()).verdicts[-1].id
    edit(sharded[0], lambda body: body["verdicts"].pop())
    edit(sharded[1], lambda body: [verdict.update(status="pass") for verdict in body["verdicts"]])
    edit(sharded[0], lambda body: [verdict.update(status="pass") for verdict in body["verdicts"]])
    assert run("merge", *sharded, "-o", "merged").code == 3
    assert result("merged")[0].missing == (lost,)


def edit(path, change):
    """Change the JSON of a Run."""
    body = checksum.opened(path.read_text(), SCHEMA)
    change(body)
    path.write_text(json.dumps(body))


@pytest.fixture
def pair(tmp_path):
    """Two files that are the two shards of a suite of four items."""
    ids = [f"interpret/accuracy/{letter}" for letter in "abcd"]
    machine = {"gpus": [], "processor": "x86_64", "cpus": 2, "driver": "", "libraries": {"torch": "2.13.0"}}
    about = machine | {"commit": "c0ffee" * 7, "started": "2026-11-28T01:00:00+00:00", "suite": suite_of(ids)}
    paths = []
    for index, names in ((1, ids[:2]), (2, ids[2:])):
        command = f"braidcheck gate --lane interpret --shard {index}/2"
        verdicts = [Verdict("accuracy", name[-1], Status.PASS, "fine", lane="interpret") for name in names]
        run = Run(about | {"shard": f"{index}/2", "command": command}, tuple(names), tuple(verdicts))
        paths.append(tmp_path / f"{index}.json")
        paths[-1].write_text(run.to_json())
    return paths


def test_a_pair_without_a_fault_is_merged(pair, run, tmp_path):
    assert run("merge", *pair, "-o", tmp_path / "merged").code == 0


def seen(**values):
    return lambda body: body["environment"].update(values)


def drop_item(body):
    name = body["expected"].pop()
    body["verdicts"] = [verdict for verdict in body["verdicts"] if not name.endswith(verdict["subject"])]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (seen(commit="beef" * 10), "differ in commit: c0ffee"),
        (seen(commit="c0ffee+"), "its tree differs from commit c0ffee; commit, then run the shards again"),
        (seen(commit=""), "its commit is not known; run the shards from a git checkout"),
        (seen(shard="2/3"), "differ in the number of shards: 2 and 3"),
        (seen(shard="1/2"), "overlap: both are shard 1/2; give each shard once"),
        (seen(shard=""), "is not a shard; make it with: braidcheck gate --shard K/N"),
        (seen(suite={}), "shard 2/2 ended before it knew the suite's items; run it again"),
        (seen(started=""), "shard 2/2 ended before it knew the suite's items; run it again"),
        (seen(suite={"items": 3, "sha256": "0"}), "differ in the items of the suite: items 4"),
        (seen(gpus=[{"name": "NVIDIA H100"}]), "differ in hardware: "),
        (seen(driver="580.1"), "differ in driver: none and 580.1"),
        (seen(libraries={"torch": "2.11.0"}), "differ in libraries: torch "),
        (seen(command="braidcheck gate --lane interpret --model other"), "differ in command: braidcheck gate"),
        (lambda body: body["expected"].append("interpret/accuracy/a"), "overlap: both have interpret/accuracy/a"),
        (drop_item, "a gap: the shards expected 3 of the suite's 4 items"),
    ],
)
def test_what_is_no_whole_is_refused(pair, refused, tmp_path, change, text):
    edit(pair[1], change)
    refused(2, text, "merge", *pair, "-o", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_missing_shard_is_named(pair, refused):
    refused(2, "a gap: no Run of shard 2/2; run it with: braidcheck gate --shard 2/2", "merge", pair[0])
    refused(2, "was given twice", "merge", pair[0], pair[0])
    refused(2, "cannot read nowhere.json", "merge", pair[0], "nowhere.json")
    pair[1].write_text("{}")
    refused(2, "is not a Run; give the run.json of a shard", "merge", *pair)


def test_a_shard_for_which_nothing_is_left_is_refused(suite, committed, refused):
    refused(2, "--shard 7/9: more shards than units of work", "gate", "--workers", 1, "--shard", "7/9")


def test_another_shard_is_refused_before_anything_runs(suite, refused, tmp_path):
    refused(2, "--shard 3/2: give K/N with 1 <= K <= N", "gate", "--shard", "3/2")
    assert not (tmp_path / "braidcheck-out").exists()


def test_durations_decide_the_shards_and_the_last_run_does_not(sharded, run, result, tmp_path):
    body = checksum.opened(sharded[0].read_text(), SCHEMA)
    for verdict in body["verdicts"]:
        verdict["seconds"] = 1000.0
    sharded[0].write_text(json.dumps(body))
    before = set(Run.from_json(sharded[0].read_text()).expected)
    run("gate", "--workers", 1, "--shard", "1/2", "--out", "shard-1")  # its last Run says 1000 s
    assert set(result("shard-1")[0].expected) == before
    (tmp_path / "slow.json").write_text(json.dumps(body))
    run("gate", "--workers", 1, "--shard", "1/2", "--out", "shard-1", "--durations", "slow.json")
    assert set(result("shard-1")[0].expected) != before


def test_what_times_something_is_alone_in_the_first_shard(suite, run, result, monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "gpus", lambda: ({"id": "0", "name": "G", "memory_gib": 80},))
    monkeypatch.setattr(environment, "commit", lambda: "c0ffee" * 7)
    for index in (1, 2):
        run("gate", "--workers", 1, "--shard", f"{index}/2", "--out", f"shard-{index}", "--lane", "gpu")
    paths = [tmp_path / f"shard-{index}" / "run.json" for index in (1, 2)]
    assert [{"gpu/speed/thing"} <= set(Run.from_json(path.read_text()).expected) for path in paths] == [True, False]
    assert run("merge", *paths, "-o", "merged").code == 0
    assert len(result("merged")[0].verdicts) == 6


SLOW = """
    @pytest.mark.parametrize("what", ["quick", "slow", "other"])
    def test_it(what):
        (Path(__file__).parent / f"ran-{what}").touch()
        return Verdict("accuracy", what, Status.PASS, "fine")
"""


def test_what_a_budget_has_no_time_for_is_said_and_not_run(suite, run, result, tmp_path):
    suite(accuracy=SLOW)
    assert run("gate", "--workers", 1, "--out", "whole").code == 0
    body = checksum.opened((tmp_path / "whole" / "run.json").read_text(), SCHEMA)
    for verdict in body["verdicts"]:
        verdict["seconds"] = 36_000.0 if verdict["subject"] == "slow" or verdict["gate"] == "coherence" else 0.001
    (tmp_path / "known.json").write_text(json.dumps(body))
    (tmp_path / "suite" / "ran-slow").unlink()
    completed = run("gate", "--workers", 1, "--budget", 60, "--durations", "known.json")
    made, _, _ = result()
    assert completed.code == 0
    skipped = {verdict.id: verdict for verdict in made.verdicts if verdict.status == "skipped"}
    assert skipped.keys() == {"interpret/accuracy/slow", "interpret/coherence/thing"}
    assert "skipped: the budget of 60 minutes has no time left for it" in skipped["interpret/accuracy/slow"].message
    assert not (tmp_path / "suite" / "ran-slow").exists()
    assert completed.out.splitlines()[-1].startswith("PASS: 2 skipped, 6 pass, 2 of these skipped for the budget in")
    assert not made.missing


def test_a_budget_that_holds_nothing_is_never_green(suite, run, result):
    assert run("gate", "--workers", 1, "--budget", 0.0001).code == 3
    assert {str(verdict.status) for verdict in result()[0].verdicts} == {"skipped"}
