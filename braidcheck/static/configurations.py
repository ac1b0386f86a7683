"""The compiled configurations: the launches of each op's full-size cases, and of the engine on Qwen3-0.6B."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from braidcheck import kernels, models
from braidcheck.kernels.common.pdl import programmatic_dependent_launch
from braidcheck.models.architecture import Architecture
from braidcheck.models.build import of_tensors
from braidcheck.models.metadata import AttentionMetadata
from braidcheck.models.ops import KERNELS
from braidcheck.op import Case, Cost, Op
from braidcheck.static.launches import Launch, as_if_on, of_case, recorded

DTYPE = "bfloat16"  # the model's
ROWS, PROMPTS, CAPACITY = (1, 16), (512, 4096), 8192
SHORT = 2048  # a cache length for which a decode step may use other launch configs


@dataclass(frozen=True)
class Configuration:
    """A launch of an op that its users meet; ``cost`` is known where it comes from one of the op's cases."""

    op: str
    name: str
    launch: Launch
    cost: Cost | None = None


def find(ops: Sequence[str] = (), capability: tuple[int, int] = (0, 0)) -> list[Configuration]:
    """The configurations of ``ops`` (default: all) for a GPU of this compute capability, which determines launch
    configs and PDL; equal ones under their first name. Of launches that differ only in specialisation hints, the one
    with the most hints, which is the model's.
    """
    met: dict[tuple[str, str], Configuration] = {}
    with as_if_on(capability):
        for one in (*_of_cases(ops), *_of_the_engine(ops)):
            key = one.op, replace(one.launch, hints={}).name
            if key not in met or _hints(one) > _hints(met[key]):
                met[key] = one
    return sorted(_told_apart(met.values()), key=attrgetter("op"))


def _told_apart(configurations: Iterable[Configuration]) -> Iterator[Configuration]:
    """The same; launches of one kernel with one name are told apart by their differing constants."""
    alike: dict[tuple[str, str, str], list[Configuration]] = {}
    for one in configurations:
        alike.setdefault((one.op, one.launch.kernel.__name__, one.name), []).append(one)
    for group in alike.values():
        constants = [one.launch.constants for one in group]
        differ = [name for name in constants[0] if any(some.get(name) != constants[0][name] for some in constants)]
        for one in group:
            yield replace(one, name=", ".join([one.name, *(f"{name} {one.launch.constants[name]}" for name in differ)]))


def _hints(one: Configuration) -> int:
    return sum(map(len, one.launch.hints.values()))


def _of_cases(ops: Sequence[str]) -> Iterator[Configuration]:
    for op in kernels.find().values():
        for case in _cases(op) if not ops or op.name in ops else ():
            for launch in of_case(op, case):
                yield Configuration(op.name, case.id.removeprefix(op.name).strip("[]"), launch, op.cost(case))


def _cases(op: Op) -> tuple[Case, ...]:
    """The cases of full size in the model's dtype; of an op without such, those in the dtype, or else all."""
    narrow = tuple(case for case in op.cases if case.dtype == DTYPE)
    return tuple(case for case in narrow if case.large) or narrow or op.cases


def _of_the_engine(ops: Sequence[str]) -> Iterator[Configuration]:
    """One layer and the head, in decode and prefill, with each attention backend; an op's kernels are in the op's
    module."""
    if ops and not any(hasattr(KERNELS, op) for op in ops):
        return  # no model calls any of them
    for architecture in models.find().values():
        for step, launch in _steps(architecture):
            op = launch.kernel.fn.__module__.removeprefix(f"{kernels.__name__}.").split(".")[0]
            if op in (ops or kernels.find()):  # shared kernels appear in the ops' cases
                yield Configuration(op, f"{architecture.title} {step}", launch)


def _steps(architecture: Architecture) -> Iterator[tuple[str, Launch]]:
    config = replace(architecture.full_size, num_hidden_layers=1)
    with FakeTensorMode():
        tensors = {name: torch.empty(shape) for name, shape in config.tensor_shapes().items()}
        for attention in architecture.attentions:
            model = of_tensors(config, tensors, getattr(torch, DTYPE), attention=attention)
            for rows, (capacity, told) in itertools.product(ROWS, ((CAPACITY, ""), (SHORT, f" in {SHORT} slots"))):
                cache, tokens = model.new_cache(rows, capacity), torch.zeros(rows, dtype=torch.int64)
                with recorded() as launches, programmatic_dependent_launch():  # as in a decoder's graph
                    model.next_tokens(model.forward(tokens, AttentionMetadata.decode(tokens), cache))
                yield from ((f"decode of {rows}{told}, {attention}", launch) for launch in launches)
            for count in PROMPTS:
                cache, tokens = model.new_cache(1, CAPACITY), torch.zeros(count, dtype=torch.int64)
                with recorded() as launches:
                    model.logits(model.forward(tokens, AttentionMetadata.prefill(count, "cpu"), cache)[-1:])
                yield from ((f"prompt of {count}, {attention}", launch) for launch in launches)
