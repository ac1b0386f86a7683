"""What times one function of somebody's: it is loaded, held against the op roughly, and timed."""

import inspect

import pytest

from braidcheck.ci.paired.function_worker import FunctionBench
from braidcheck.errors import UserError
from braidcheck.kernels import find

FUNCTIONS = """
import torch

def right(hidden, gain, eps):
    wide = hidden.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps) * gain.float()).to(hidden.dtype)

def gemma(x, weight, eps):
    return right(x, 1 + weight, eps)

def flat(x, weight, eps):
    return right(x, weight, eps).flatten()
"""
SERIES = {"name": "rms_norm[few]", "op": "rms_norm", "axes": {"T": 3, "H": 64}, "case": {"dtype": "bfloat16"}}


@pytest.fixture
def bench(tmp_path):
    file = tmp_path / "functions.py"
    file.write_text(FUNCTIONS)
    return lambda name: FunctionBench(f"{file}:{name}", "cpu")


def test_a_function_is_timed_on_the_inputs_of_the_op(bench):
    right, other = bench("right"), bench("gemma")
    assert right.prepare(SERIES) == other.prepare(SERIES)
    right.place(SERIES)
    assert right.turn({})["seconds"] > 0


@pytest.mark.parametrize(("name", "said"), [("gemma", r"y is \d+% from the op's"), ("flat", "y has shape")])
def test_another_function_has_no_time(bench, name, said):
    made = bench(name)
    made.prepare(SERIES)
    with pytest.raises(ValueError, match=said):
        made.place(SERIES)


def test_what_saves_an_allocation_is_not_asked_for(tmp_path):
    file = tmp_path / "attention.py"
    parameters = list(inspect.signature(find()["decode_attention"].call).parameters)
    parameters.remove("split_counter")
    file.write_text(f"def attend({', '.join(parameters)}):\n    pass\n")
    axes = {"B": 1, "Hq": 2, "Hkv": 1, "D": 16, "S": 8}
    series = {"name": "decode", "op": "decode_attention", "axes": axes, "case": {"dtype": "bfloat16"}}
    made = FunctionBench(f"{file}:attend", "cpu")
    assert "split_counter" in made.prepare(series)["inputs"]
    assert "split_counter" not in made.prepared["decode"][2]


def test_a_function_that_is_not_there_is_named(bench):
    with pytest.raises(UserError, match="has no function 'nope'"):
        bench("nope").prepare(SERIES)
