"""Every argument of every op, changed in each way: the answer is right, or ValueError names the argument."""

import importlib
import inspect
from collections import Counter
from dataclasses import replace

import pytest

from braidcheck import kernels
from braidcheck.gates.edges.arguments import axis_outcomes, calls, outcomes, violation
from braidcheck.kernels.common.validation import Arguments

OPS = kernels.find()


def arguments(op):
    return importlib.import_module(f"braidcheck.kernels.{op}").ARGUMENTS


@pytest.mark.parametrize("op", OPS)
def test_the_declaration_has_the_wrappers_arguments_in_order(op):
    assert list(arguments(op).specs) == list(inspect.signature(OPS[op].call).parameters)


@pytest.mark.parametrize("op", OPS)
def test_small_calls_give_every_argument(op):
    given = set().union(*calls(OPS[op], "cpu"))
    assert given == set(inspect.signature(OPS[op].call).parameters)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # numbers that overflow are asked about too
@pytest.mark.parametrize("op", OPS)
def test_a_changed_argument_is_served_rightly_or_refused_by_name(op):
    asked, wrong = Counter(), []
    for inputs in calls(OPS[op], "cpu")[:1]:
        for name, kind, said in outcomes(OPS[op], OPS[op].call, inputs, thorough=True):
            asked[name] += 1
            wrong += [f"{name} {kind}: {said}"] if said else []
    wrong += [f"{kind}: {said}" for kind, said in axis_outcomes(OPS[op], OPS[op].call, "cpu", (0, 1)) if said]
    assert wrong == []
    assert min(asked.values()) >= 10


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize(
    ("op", "argument"),
    [("qkv_rope", "qkv_bias"), ("attention_decode", "scale"), ("cache_write", "k_cache"), ("sample", "logits")],
)
def test_an_argument_that_nobody_looks_at_is_noticed(op, argument, monkeypatch):
    names, usual, plain = list(arguments(op).specs), calls(OPS[op], "cpu")[0][argument], Arguments.check

    def check(self, *given):
        return plain(self, *(usual if name == argument else value for name, value in zip(names, given, strict=True)))

    monkeypatch.setattr(Arguments, "check", check)
    assert violation(OPS[op], OPS[op].call, "cpu").startswith(argument)


@pytest.mark.parametrize(("op", "argument"), [("fused_attention", "norm_weight"), ("qkv_rope", "cos_sin")])
def test_strides_that_nobody_looks_at_are_noticed(op, argument, monkeypatch):
    declared = arguments(op)
    any_strides = replace(declared.specs[argument], contiguous=0)
    monkeypatch.setattr(declared, "_accepted", {})
    monkeypatch.setattr(declared, "specs", declared.specs | {argument: any_strides})
    assert violation(OPS[op], OPS[op].call, "cpu").startswith(f"{argument} axis")
