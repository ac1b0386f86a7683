"""What ops promise at their edges, where the cases of the accuracy gate do not go: a violation each, or nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from braidcheck.gates.gate import Check, Trial
from braidcheck.gates.under_test import module, wrapper
from braidcheck.numerics.calls import run
from braidcheck.op import Inputs, Op

VOCABULARY = 20000  # tokens: each program of an LM head has several blocks of them
MANY = 65  # rows from which kernels for many tokens are taken
CROWD = 160  # rows: more than any block of tokens that the kernels choose by their number


def edge_checks(op: Op, call: Callable[..., Any], device: str) -> Iterator[tuple[str, Check]]:
    """Name and probe of what is asked of ``call``, a candidate for ``op``."""
    if op.contract.batch_invariant and not op.contract.mutates:
        yield "a row does not depend on its neighbours", partial(_alone, op, call, device)
    if "cos_sin" in inspect.signature(op.call).parameters:
        yield "a position outside the table gives NaN", partial(_positions, op, call, device)
    if op.name == "rms_norm":
        yield "out is written", partial(_out, op, call, device)
    if op.name == "qk_norm_rope":
        yield "the safe scale is a power of two that keeps K small", partial(_scale, op, device)
        yield "a scale that rounds is refused", partial(_refused, op, call, device)
    if op.name == "cache_write":
        yield "a place outside the cache is not written", partial(_places, op, call, device)
    if op.name == "attention_decode":
        yield "rows without keys give zeros, rows past the cache stop at its end", partial(_lengths, op, call, device)
    if op.name == "decode_attention":
        yield "a token at no slot gives NaN and is not written", partial(_no_slot, op, call, device)
        yield "the split counter is left zero, as the next step needs it", partial(_split_counter, op, call, device)
    if op.name == "lm_head":
        yield "the lowest of equal logits is the best", partial(_ties, call, device)
        yield "the best of negative logits is in the vocabulary", partial(_negative, call, device)
        yield "a row of NaN gives a token of the vocabulary", partial(_nothing, call, device)
        yield "of logits that differ past bfloat16 the better is the best", partial(_close, call, device)
    if op.name == "sample":
        yield "a token that is NaN or infinite is drawn, of nothing any of the vocabulary", partial(_odd, call, device)
    if op.name == "fused_attention":
        yield "a slot outside the cache is not written", partial(_slots, op, call, device)


def trial_checks(trial: Trial) -> Iterator[tuple[str, Check]]:
    """The contract checks of the trial's ops."""
    for name, op in trial.ops.items():
        for subject, check in edge_checks(op, wrapper(name), trial.device):
            yield f"{name}: {subject}", check


def _inputs(op: Op, device: str, least: int = 3) -> Inputs:
    case = next(case for case in op.cases if case.get("T", case.get("B")) >= least and not case.large)
    return op.inputs(case, device)


def _alone(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The same bits for a row alone, among its neighbours, and among many copies of all of them."""
    inputs = _inputs(op, device)
    count = len(next(value for value in inputs.values() if isinstance(value, torch.Tensor)))
    together = torch.arange(count, device=device)

    def taken(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        chosen = {k: v[rows] if isinstance(v, torch.Tensor) and len(v) == count else v for k, v in inputs.items()}
        return run(op, call, chosen)

    crowds = [(len(rows), taken(rows)) for rows in (together, together.repeat(CROWD // count + 1))]
    for row in range(min(count, 3)):
        alone = taken(together[row : row + 1])
        for size, crowd in crowds:
            for name, one, all_rows in zip(op.outputs, alone, crowd, strict=False):
                if not torch.equal(one[0].nan_to_num(7), all_rows[row].nan_to_num(7)):
                    return f"{name} of one row changes with {size - 1} others beside it"
    return None


def _out(op: Op, call: Callable[..., Any], device: str) -> str | None:
    inputs = _inputs(op, device)
    out = torch.zeros(inputs["x"].shape, dtype=torch.float32, device=device)
    found = call(**inputs, out=out)
    return None if found is out and torch.equal(out, call(**inputs)) else "out is not what the call returns"


def _scale(op: Op, device: str) -> str | None:
    safe_k_scale = module("kernels.qk_norm_rope").safe_k_scale
    for peak, expected in ((1.0, 1.0), (96.5, 1.0), (100.0, 1.0), (400.0, 0.25), (8192.0, 2.0**-7)):
        if (found := safe_k_scale(torch.tensor([1.0, -peak], device=device))) != expected:
            return f"a K norm weight of {peak:g} gets the scale {found:g}, must get {expected:g}"
    return None


def _refused(op: Op, call: Callable[..., Any], device: str) -> str | None:
    try:
        call(**_inputs(op, device) | {"k_scale": 0.3})
    except ValueError:
        return None
    return "k_scale 0.3 is not refused"


def _positions(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """For a few tokens and, where a case has them, for many."""
    sizes = [case.get("T", case.get("B")) for case in op.cases if not case.large]
    asked = (_position(op, call, _inputs(op, device, least)) for least in (3, MANY) if max(sizes) >= least)
    return next(filter(None, asked), None)


def _position(op: Op, call: Callable[..., Any], inputs: Inputs) -> str | None:
    limit = len(inputs["cos_sin"])
    for outside in (limit, limit + 1000, -1):
        positions = inputs["positions"].clone()
        positions[1] = outside
        outputs = run(op, call, inputs | {"positions": positions})
        for name, value in zip(op.outputs, outputs, strict=False):
            if name in ("q", "k", "out") and not value[1].isnan().all():
                return f"{name} at position {outside} of a table of {limit} is not NaN"
    return None


def _places(op: Op, call: Callable[..., Any], device: str) -> str | None:
    inputs = _inputs(op, device)
    tokens = {name: inputs[name][:3] for name in "kv"}
    batch, capacity = inputs["k_cache"].shape[:2]
    for row, slot in ((batch, 0), (-1, capacity - 1), (0, capacity), (1, -1), (batch, -1), (-1, capacity)):
        caches, expected = ({name: inputs[name].clone() for name in ("k_cache", "v_cache")} for _ in range(2))
        rows, slots = (torch.tensor(part, device=device) for part in ([0, row, 1], [2, slot, 4]))
        call(**tokens, **caches, rows=rows, slots=slots)
        kept = {name: part[::2] for name, part in tokens.items()}
        op.reference(**kept, **expected, rows=rows[::2], slots=slots[::2])
        if any(not torch.equal(caches[name].nan_to_num(7), expected[name].nan_to_num(7)) for name in expected):
            return f"a token for row {row}, slot {slot} of a cache [{batch}, {capacity}] is written"
    return None


def _lengths(op: Op, call: Callable[..., Any], device: str) -> str | None:
    inputs = _inputs(op, device, least=2)
    capacity = inputs["k_cache"].shape[1]
    full = inputs | {name: inputs[name].nan_to_num(0.5) for name in ("k_cache", "v_cache")}
    lengths = torch.full_like(inputs["lengths"], capacity)
    expected = call(**full | {"lengths": lengths})
    if not torch.equal(call(**full | {"lengths": lengths + 3}), expected):
        return "a length past the cache's end reads past it"
    zeros = call(**inputs | {"lengths": torch.zeros_like(lengths)})
    return None if torch.equal(zeros, torch.zeros_like(zeros)) else "rows without keys do not give zeros"


def _no_slot(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """The middle one of three rows past a table that ends before the cache, past the cache, and before both."""
    inputs = _inputs(op, device)
    capacity = inputs["k_cache"].shape[1]
    longer = torch.cat([inputs["cos_sin"]] * 2)
    for outside, limit in ((capacity // 2, capacity // 2), (capacity, 2 * capacity), (-1, capacity)):
        positions = inputs["positions"].clamp_max(capacity // 2 - 1)
        positions[1] = outside
        caches = {name: inputs[name].nan_to_num(0.5) for name in ("k_cache", "v_cache")}
        out = call(**inputs | caches | {"positions": positions, "cos_sin": longer[:limit]})
        if not out[1].isnan().all():
            return f"position {outside} of a table of {limit} and a cache of {capacity} gives no NaN"
        for name, cache in caches.items():
            changed = (cache != inputs[name].nan_to_num(0.5)).any(dim=(2, 3))
            allowed = torch.zeros_like(changed)
            allowed[[0, 2], positions[[0, 2]]] = True
            if (changed & ~allowed).any():
                return f"{name} is written at position {outside} of a table of {limit} and a cache of {capacity}"
    return None


def _split_counter(op: Op, call: Callable[..., Any], device: str) -> str | None:
    inputs = _inputs(op, device)
    split_counter = torch.zeros(inputs["k"].shape[:2], dtype=torch.int32, device=device)
    first = call(**inputs, split_counter=split_counter)
    if split_counter.any():
        return f"the split counter is left {split_counter.flatten().tolist()}"
    same = torch.equal(call(**inputs, split_counter=split_counter), first)
    return None if same else "the second of two equal steps differs"


def _ties(call: Callable[..., Any], device: str) -> str | None:
    generator = torch.Generator().manual_seed(5)
    x, weight = (torch.randn(count, 32, generator=generator).to(torch.bfloat16) for count in (3, VOCABULARY))
    weight[130::64] = 9 * x[0]  # for row 0 the same best logit in every block and again and again in each
    for how, found in _best(call, x, weight, device).items():
        if found[0] != 130:
            return f"{how}: token {found[0]} of the equal 130, 194, 258, ... is called best"
    return None


def _negative(call: Callable[..., Any], device: str) -> str | None:
    generator = torch.Generator().manual_seed(6)
    x, weight = (torch.rand(count, 32, generator=generator).to(torch.bfloat16) + 0.1 for count in (3, 700))
    expected = (-x.double() @ weight.double().T).topk(2).indices.tolist()
    for how, found in _best(call, -x, weight, device).items():
        wrong = [token for token, best in zip(found, expected, strict=True) if token not in best]
        if wrong:
            return f"{how}: token {wrong[0]} of 700 negative logits is called best"
    return None


def _nothing(call: Callable[..., Any], device: str) -> str | None:
    generator = torch.Generator().manual_seed(8)
    x, weight = (torch.randn(count, 32, generator=generator).to(torch.bfloat16) for count in (3, 700))
    whole = _best(call, x, weight, device)
    x[1] = torch.nan
    for how, found in _best(call, x, weight, device).items():
        expected = [whole[how][0], 0, whole[how][2]]
        if found != expected:
            return f"{how}: with a row of NaN tokens {found} are best, must be {expected}"
    return None


def _odd(call: Callable[..., Any], device: str) -> str | None:
    logits = torch.randn(5, 2500, generator=torch.Generator().manual_seed(9))
    logits[0, 2130] = torch.nan
    logits[1, 2048] = torch.inf  # the first token of a block
    logits[2:4] = -torch.inf
    logits[4] = torch.nan
    seeds, positions = (torch.arange(5) + start for start in (7, 90))
    for top_k, top_p in ((0, 1.0), (3, 1.0), (0, 0.9), (3, 0.9)):
        found = call(logits.to(device), seeds.to(device), positions.to(device), 0.7, top_k, top_p).tolist()
        if found[:2] != [2130, 2048] or not all(0 <= token < 2500 for token in found):
            return f"tokens {found} are drawn, must be 2130, 2048 and three of 2500"
    return None


def _close(call: Callable[..., Any], device: str) -> str | None:
    generator = torch.Generator().manual_seed(7)
    x, weight = (torch.randn(count, 32, generator=generator) for count in (3, 700))
    for row, (better, worse) in enumerate(((400, 130), (650, 140), (7, 500))):
        weight[worse] = 9 * x[row]
        weight[better] = 9 * (1 + 2**-11) * x[row]
    for how, found in _best(call, x, weight, device).items():
        if found != [400, 650, 7]:
            return f"{how}: tokens {found} are called best, not [400, 650, 7], by half of 2**-10"
    return None


def _best(call: Callable[..., Any], x: torch.Tensor, weight: torch.Tensor, device: str) -> dict[str, list[int]]:
    """The best token of each row of x, had together, one by one and in a crowd: by whichever kernel the op takes."""
    rest = torch.ones(x.shape[1], dtype=x.dtype, device=device), weight.to(device), 1e-6

    def tokens(rows: torch.Tensor) -> list[int]:
        return call(rows.to(device), *rest, argmax=True).tolist()

    alone = [tokens(row[None])[0] for row in x]
    return {"together": tokens(x), "one by one": alone, "in a crowd": tokens(x.repeat(9, 1))[: len(x)]}


def _slots(op: Op, call: Callable[..., Any], device: str) -> str | None:
    """Decode with an empty row and one longer than the cache: zeros for the first, nothing written for both."""
    case = next(case for case in op.cases if case["T"] == case["B"] > 2 and not case.get("raw"))
    inputs = op.inputs(case, device)
    capacity = inputs["k_cache"].shape[1]
    lengths = inputs["lengths"].clone()
    lengths[0], lengths[1] = 0, capacity + 1
    caches, expected = ({name: inputs[name].clone() for name in ("k_cache", "v_cache")} for _ in range(2))
    out = call(**inputs | caches | {"lengths": lengths})
    full = call(**inputs | expected)
    for name in expected:
        kept, changed = inputs[name][:2].nan_to_num(7), caches[name]
        if not torch.equal(changed[:2].nan_to_num(7), kept):
            return f"{name} is written for a slot outside it"
        if not torch.equal(changed[2:].nan_to_num(7), expected[name][2:].nan_to_num(7)):
            return f"{name} of another row changes with a slot outside it"
    if not torch.equal(out[0], torch.zeros_like(out[0])) or not torch.equal(out[2:], full[2:]):
        return "an empty row does not give zeros, or changes its neighbours"
    return None
