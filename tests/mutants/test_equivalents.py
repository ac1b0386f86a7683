"""Equivalent implementations: every op has them, they are called like its wrapper, and no gate refuses them."""

import importlib
import inspect
from types import SimpleNamespace

import pytest
import torch
from triton.runtime.interpreter import InterpretedFunction

from braidcheck import kernels
from braidcheck.gates import accuracy
from braidcheck.gates.soak import VARIANTS
from braidcheck.gates.soak.measure import measure_soak, pairs
from braidcheck.kernels.common import persistent_gemm as many
from braidcheck.kernels.common.configs import configs, get_config
from braidcheck.kernels.common.variants import STYLES, UNROUNDED
from braidcheck.mutants import equivalents

OPS = kernels.find()


@pytest.mark.parametrize("op", OPS)
def test_every_op_has_variants_with_its_own_signature(op):
    wanted = inspect.signature(OPS[op].call).parameters
    variants = equivalents.find(op)
    assert len(variants) >= VARIANTS
    for name, variant in variants.items():
        has = inspect.signature(variant).parameters
        required = [p for p in wanted if wanted[p].default is inspect.Parameter.empty]
        assert [p for p in has if p in wanted] == list(has), name
        assert list(has)[: len(required)] == required, name
        assert {p: has[p].default for p in has} == {p: wanted[p].default for p in has}, name


def test_an_unknown_op_has_none():
    assert equivalents.find("no_op") == {}


@pytest.mark.parametrize("op", OPS)
def test_no_variant_is_refused(op):
    cases = [case for case in pairs(OPS[op], 24, large=False) if case.profile == "tail"]
    seen = measure_soak(OPS[op], cases[:1], equivalents.find(op))
    over = [row for row in seen["functions"] if not row["error_ratio"] <= accuracy.LIMIT or row["raised"]]
    assert not over


@pytest.mark.parametrize("op", [name for name in OPS if name not in ("cache_write", "sample")])
def test_variants_round_otherwise(op):
    """Variants that gave the same bits as the reference would show nothing."""
    case = next(case for case in OPS[op].cases if case.dtype == "float32" and not case.large)
    given = OPS[op].inputs(case, "cpu")

    def bits(function):
        outputs = function(**{k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in given.items()})
        first = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
        return first.contiguous().view(torch.int32)

    plain = bits(OPS[op].reference)
    same = [name for name in STYLES if torch.equal(bits(equivalents.find(op)[name]), plain)]
    assert not same


def sizes(module, op):
    """The sizes that ``op`` would take: its module's and those of its launch configs."""
    keys = [key for key in configs() if key[0] == op]
    other = getattr(importlib.import_module(f"{module.__name__}.variants"), "OTHER_SIZES", {})
    return {name: getattr(module, name) for name in other} | {key: get_config(*key) for key in keys}


@pytest.mark.parametrize("op", [name for name, op in OPS.items() if "other blocks" in op.variants])
def test_other_blocks_are_other_and_are_put_back(op, monkeypatch):
    module = importlib.import_module(f"braidcheck.kernels.{op}")
    before, during = sizes(module, op), []
    assert before
    stopped = SimpleNamespace(check=lambda *_: during.append(sizes(module, op)) or 1 / 0)
    monkeypatch.setattr(module, "ARGUMENTS", stopped)
    case = next(case for case in OPS[op].cases if not case.large)
    with pytest.raises(ZeroDivisionError):
        equivalents.find(op)["other blocks"](**OPS[op].inputs(case, "cpu"))
    (other,) = during
    assert all(other[name] != before[name] for name in before)
    assert sizes(module, op) == before


@pytest.mark.parametrize("op", [name for name, op in OPS.items() if "in blocks" in op.variants])
def test_few_and_many_tokens_are_given_to_the_kernel_in_blocks(op, monkeypatch):
    module = importlib.import_module(f"braidcheck.kernels.{op}")
    launched = []

    class Listed:
        def __init__(self, name):
            self.name = name

        def __getitem__(self, grid):
            return lambda *_, **options: launched.append(self.name + " of tiles" * options.get("USE_TMA", False))

    for name, found in vars(module).copy().items():
        if isinstance(found, InterpretedFunction):
            monkeypatch.setattr(module, name, Listed(name))
    cases = [case for case in OPS[op].cases if not case.large and (case["T"] == 1 or case["T"] >= many.MIN_M)]
    for case in cases:
        equivalents.find(op)["in blocks"](**OPS[op].inputs(case, "cpu"))
    others = "_gemv_kernel", "_sliced_k_kernel", "_persistent_kernel", " of tiles"
    assert {f"{op}_kernel", f"_{op}", f"{op}_tiled_kernel"} & {*launched}
    assert not any(name.endswith(others) for name in launched)
    for case in cases:
        OPS[op].call(**OPS[op].inputs(case, "cpu"))
    assert any(name.endswith(others) for name in launched)


@pytest.mark.parametrize("style", [*STYLES.values(), *UNROUNDED.values()], ids=[*STYLES, *UNROUNDED])
def test_a_row_that_sees_nothing_gives_zeros(style):
    q, k, v = torch.randn(2, 1, 3, 16), torch.randn(100, 1, 16), torch.randn(100, 1, 16)
    mask = torch.zeros(2, 100, dtype=torch.bool)
    mask[1, 7] = True  # one key: the answer is its value
    out = style.attend(q, k, v, 0.25, mask)
    assert torch.equal(out[0], torch.zeros(1, 3, 16))
    assert torch.equal(out[1], v[7].expand(1, 3, 16))
