"""Shards: which part an item goes to, and that it is the same everywhere."""

import collections
import math
import random

import pytest

from braidcheck.errors import UserError
from braidcheck.gates import GATES
from braidcheck.plugin import TIMED
from braidcheck.result import Run
from braidcheck.schedule import shards
from braidcheck.schedule.durations import Durations
from braidcheck.schedule.estimate import unit_of
from braidcheck.schedule.shards import Shard, partition, suite_of


def test_a_shard_is_k_of_n():
    assert Shard.parse("3/8") == Shard(3, 8)
    assert str(Shard.parse("3/8")) == "3/8"


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", "1.5/2", " 1/2", "1/9999999"])
def test_another_shard_is_refused(text):
    with pytest.raises(UserError, match=r"give K/N with 1 <= K <= N"):
        Shard.parse(text)


UNITS = {f"gate/{number}": seconds for number, seconds in enumerate([9.0, 5.0, 4.0, 4.0, 3.0, 2.0, 2.0, 1.0])}


def loads(given, units):
    found = collections.Counter()
    for unit, shard in given.items():
        found[shard] += units[unit]
    return found


def test_shards_are_balanced_and_hold_each_unit_once():
    given = partition(UNITS, 3)
    assert given.keys() == UNITS.keys()
    assert sorted(loads(given, UNITS).values()) == [10.0, 10.0, 10.0]


def test_the_order_of_collection_does_not_matter():
    names = list(UNITS)
    random.Random(3).shuffle(names)
    assert partition({name: UNITS[name] for name in names}, 3) == partition(UNITS, 3)


def test_units_that_take_no_time_are_spread_as_well():
    assert sorted(collections.Counter(partition(dict.fromkeys("abcdef", 0.0), 3).values()).values()) == [2, 2, 2]


def test_timed_units_go_to_first_shard():
    units = UNITS | {"timing": 1.0, "speed": 1.0}
    given = partition(units, 2, TIMED)
    assert given["timing"] == given["speed"] == 1
    assert set(partition(UNITS, 2, preload=1000.0).values()) == {2}


def test_a_suite_is_known_by_its_ids_in_any_order():
    assert suite_of(["b", "a", "a"]) == suite_of(["a", "b"])
    assert suite_of(["a", "b"])["items"] == 2
    assert suite_of(["a", "b"])["sha256"] != suite_of(["a", "c"])["sha256"]


@pytest.mark.parametrize("count", [2, 4, 8])
@pytest.mark.parametrize("lane", ["interpret", "gpu"])
def test_the_shipped_table_is_balanced_as_well_as_its_longest_unit_allows(lane, count):
    units = collections.Counter()
    for name, seconds in Durations.shipped().items.items():
        where, gate, subject = name.split("/", 2)
        if where == lane and gate not in TIMED:
            units[unit_of(gate, subject)] += seconds
    given = partition(units, count)
    best = max(max(units.values()), math.fsum(units.values()) / count)
    assert max(loads(given, units).values()) <= best * (4 / 3 - 1 / (3 * count))  # Graham's bound for this rule
    # A gate whose items share one measurement is one unit: more shards than this gain nothing on a CPU.
    assert max(loads(given, units).values()) <= 1.02 * best
    assert any(GATES[unit].in_one_worker for unit in units if unit in GATES)


def test_what_differs_is_said_without_what_is_empty():
    assert shards._said({"torch": "2", "datasets": ""}) == "torch 2"
    assert shards._said({"datasets": ""}) == shards._said("") == "none"


def test_the_first_shard_has_what_it_was_given_and_what_is_preloaded():
    units = {"first": 10.0, "a": 6.0, "b": 5.0, "c": 4.0}
    assert partition(units, 2, ["first"]) == {"first": 1, "a": 2, "b": 2, "c": 1}
    assert set(partition(units, 2, ["first"], 5.0).values()) == {1, 2}
    assert partition(units, 2, ["first"], 5.0) == {"first": 1, "a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize("lacking", ["suite", "started"])
def test_a_shard_that_ended_before_it_began_is_refused(lacking):
    seen = {"shard": "1/2", "suite": "abc", "started": "2030-01-01T00:00:00+00:00", "commit": "1" * 40}
    shards._check_shard("run.json", Run(seen, (), ()))
    with pytest.raises(UserError, match="ended before it knew"):
        shards._check_shard("run.json", Run({**seen, lacking: ""}, (), ()))
