"""A GPU that computes nothing: what is counted, and that all is as before afterwards."""

import pytest
import torch
from triton.runtime.interpreter import InterpretedFunction

from braidcheck.gates.engine.fake_gpu import fake_gpu
from braidcheck.kernels.common import interpreter


def host(call):
    with fake_gpu() as gpu:
        given = torch.empty(4, 6, device="cuda")
        with gpu.counted() as counts:
            call(given)
    return counts.host


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: t[0, 0].item(), "item"),
        (lambda t: t.sum().tolist(), "tolist"),
        (lambda t: t[:, 1].tolist(), "tolist"),
        (lambda t: int(t.max()), "__int__"),
        (lambda t: float(t.max()), "__float__"),
        (lambda t: bool((t > 0).all()), "__bool__"),
        (lambda t: t.cpu(), "_to_copy"),
        (lambda t: t.to("cpu"), "_to_copy"),
        (lambda t: torch.equal(t, t), "equal"),
        (lambda t: torch.empty(4, 6).copy_(t), "copy_"),
        (lambda t: torch.cuda.synchronize(), "synchronize"),
    ],
)
def test_reads_are_counted(call, name):
    assert host(call).reads == {name: 1}


@pytest.mark.parametrize(
    ("call", "kernels", "allocations"),
    [
        (lambda t: t[:, 2:4].unsqueeze(0).transpose(1, 2), {}, 0),
        (lambda t: torch.empty_like(t), {}, 1),
        (lambda t: t.new_zeros(3), {"new_zeros": 1}, 1),
        (lambda t: t + 1, {"add": 1}, 1),
        (lambda t: t.add_(1), {"add_": 1}, 0),
        (lambda t: t[1:].copy_(t[:3]), {"copy_": 1}, 0),
        (lambda t: t.__setitem__(slice(1, 2), t[:1]), {"__setitem__": 1}, 0),
        (lambda t: t.__iadd__(t), {"add_": 1}, 0),
        (lambda t: ~(t > 0), {"gt": 1, "bitwise_not": 1}, 2),
    ],
)
def test_kernels_and_allocations_are_counted(call, kernels, allocations):
    counts = host(call)
    assert (counts.torch_kernels, counts.allocations, counts.reads) == (kernels, allocations, {})


def test_what_a_graph_holds_is_counted_apart():
    def call(given):
        graph = torch.cuda.CUDAGraph()
        given.add_(1)
        with torch.cuda.graph(graph):
            given.mul_(2)
            given.mul_(2)
        graph.replay()

    with fake_gpu() as gpu:
        call(torch.empty(4, device="cuda"))
    assert gpu.host.torch_kernels == {"add_": 1}
    assert gpu.host.replays == 1
    assert [graph.torch_kernels for graph in gpu.graphs] == [{"mul_": 2}]


def test_all_is_put_back_even_after_an_error():
    before = InterpretedFunction.run, interpreter.DEVICE_TYPE, torch.cuda.graph, torch.cuda.CUDAGraph
    with pytest.raises(ZeroDivisionError), fake_gpu():
        raise ZeroDivisionError
    assert before == (InterpretedFunction.run, interpreter.DEVICE_TYPE, torch.cuda.graph, torch.cuda.CUDAGraph)
    assert torch.ones(2).tolist() == [1.0, 1.0]
