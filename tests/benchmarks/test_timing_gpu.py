"""On a GPU: a replay really rotates, really runs, and gives readings; the machine's limits are possible ones."""

import math

import pytest
import torch

from braidcheck.benchmarks import replay, roofline
from braidcheck.benchmarks.clocks import Monitor
from braidcheck.benchmarks.events import gpu_seconds
from braidcheck.benchmarks.replay import SAMPLES, TIMES_L2, Replay
from braidcheck.gates import timing
from braidcheck.result import Status

pytestmark = [pytest.mark.gpu, pytest.mark.exclusive_gpu]

REHEARSALS = 3  # calls before the graph is captured


@pytest.fixture
def inputs():
    """Arguments that lie on the CPU, as an op's do: 4 MiB."""
    return {"x": torch.randn(1024, 1024, generator=torch.Generator().manual_seed(3)), "more": 1.0}


def made(inputs, call=lambda x, more: x + more):
    """A replay of an addition: it reads x and writes as much."""
    return Replay(call, inputs, 2 * inputs["x"].nbytes)


def test_every_call_of_the_graph_has_inputs_and_outputs_of_its_own(inputs):
    seen = []

    def call(x, more):
        seen.append(x.data_ptr())
        return x + more

    one = made(inputs, call)
    captured = seen[REHEARSALS:]
    outputs = [out.data_ptr() for out in one.kept[1]]
    assert len(captured) == one.count
    assert len({*captured, *outputs}) == 2 * one.count
    touched = 2 * one.count * inputs["x"].nbytes
    assert one.cold
    assert touched >= TIMES_L2 * torch.cuda.get_device_properties(0).L2_cache_size


def test_a_turn_computes_and_reads(inputs):
    one = made(inputs)
    inputs, outputs = one.kept
    for number, copy in enumerate(inputs):
        copy["x"].fill_(number)
    reading = one.turn()
    torch.cuda.synchronize()
    assert all(out.eq(number + 1).all() for number, out in enumerate(outputs))
    assert 0 < reading["low"] <= reading["seconds"] <= reading["high"] < math.inf
    assert reading["kept"] + reading["discarded"] == SAMPLES
    assert (reading["copies"], reading["cold"]) == (one.count, True)
    assert reading["clock"] > 0
    assert reading["power"] > 0


def test_inputs_too_small_to_leave_the_cache_are_said_to_be_warm():
    small = {"x": torch.ones(256), "more": 1.0}
    assert not made(small).turn()["cold"]


def test_what_moves_less_than_it_should_is_refused(inputs):
    """As if the inputs had stayed in the cache: of each copy one row is read, and all is claimed."""
    claimed = 2**28
    reading = Replay(lambda x, more: x[:1] + more, inputs, claimed).turn()
    found = {"limits": roofline.measure_limits(), "series": {"op": reading | {"bytes": claimed, "flops": 1}}}
    (verdict,) = timing.evaluate(found, names=("op",))
    assert verdict.status == Status.ERROR
    assert "so inputs were cached" in verdict.message


def test_copies_fit_into_the_memory_they_may_take(inputs, monkeypatch):
    monkeypatch.setattr(replay, "MEMORY", 10 * inputs["x"].nbytes)
    assert made(inputs).count == 10


def test_the_limits_are_possible_ones():
    found = roofline.measure_limits()
    assert found.keys() == {"copy", "read", "matrix"}
    assert all(0 < found[kind] < 2e13 for kind in ("copy", "read"))  # bytes per second
    assert 0 < found["matrix"] < 2e16  # operations a second


def test_all_is_read():
    source, total = torch.ones(2**20, device="cuda"), torch.zeros(32, device="cuda")
    roofline._read[(32,)](source, total, PER_PROGRAM=2**15, BLOCK=2**12, num_warps=8)
    assert total.eq(2**15).all()


def test_the_clock_and_the_power_are_read():
    state = Monitor(str(torch.cuda.get_device_properties(0).uuid)).read()
    assert state.clock > 0
    assert state.power > 0


def test_functions_are_interleaved():
    order = []
    timings = gpu_seconds(lambda: order.append("a"), lambda: order.append("b"), count=3, warmup=2)
    assert "".join(order) == "aabb" + "ab" * 3
    assert all(0 <= one.fastest <= one.median <= one.slowest < math.inf and one.count == 3 for one in timings)
