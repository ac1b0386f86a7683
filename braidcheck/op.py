"""Op, Case, Contract, Cost and Sweep as frozen dataclasses (standard library only)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

__all__ = "DTYPES", "LANES", "PROFILES", "Case", "Contract", "Cost", "Inputs", "Op", "Sweep"

PROFILES = MappingProxyType(
    {
        "unit": "standard normal numbers, unit weights",
        "qwen": "the statistics of a real model: K-norm weights up to 96.5, uneven norms, large positions",
        "extreme": "magnitudes near the edge of the storage type",
        "tiny": "rows whose variance is near eps",
        "sparse": "mostly zeros, a few large entries",
        "steep": "numbers whose exponentials overflow",
        "tail": "sizes that divide no block",
        "cancel": "large partial sums, small total: shows narrow accumulation",
        "one_sign": "rows of one sign, positive weights: casts average out and no longer hide other errors",
        "flat": "the same with squares that all round one way: shows a norm's narrow accumulation",
        "halfway": "rows whose inverse norm rounds down far, in 16 bits: shows a norm's rounded factor",
        "range": "rows or channels past float16's range on both sides: shows what went through it",
        "zero_rows": "every other row all zeros",
        "subnormal": "rows of numbers below the smallest normal one",
        "largest": "the largest finite numbers: results that round to infinity",
        "nan": "a NaN in one row",
        "masked": "half of the numbers minus infinity",
        "ties": "few values, each many times",
        "mass": "one token of 0.4, 0.9 or nearly all of the probability",
    }
)
DTYPES = ("float32", "bfloat16", "float16")
LANES = ("interpret", "gpu")
Inputs = dict[str, Any]  # the keyword arguments of one call: tensors, numbers, dtypes and None


@dataclass(frozen=True)
class Case:
    """One point at which an op is evaluated.

    ``axes`` are named sizes and switches, ``dtype`` is the storage type of weights and activations, ``profile``
    says what the numbers look like. ``large`` cases run on a GPU only. ``needs`` names the optional arguments
    that the case passes; a candidate without them is skipped on it.
    """

    op: str
    axes: Mapping[str, int]
    dtype: str = "bfloat16"
    profile: str = "unit"
    seed: int = 0
    large: bool = False
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"unknown profile {self.profile!r}; one of {', '.join(PROFILES)}")
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown dtype {self.dtype!r}; one of {', '.join(DTYPES)}")

    def __getitem__(self, axis: str) -> int:
        return self.axes[axis]

    def get(self, axis: str, default: int = 0) -> int:
        """The size or switch ``axis``, or ``default`` if this case does not set it."""
        return self.axes.get(axis, default)

    @property
    def id(self) -> str:
        """A readable, unique name: ``rms_norm[bfloat16-qwen-T7-H1024]``."""
        sizes = "-".join(f"{name}{size}" for name, size in self.axes.items())
        seed = f"-s{self.seed}" if self.seed else ""
        return f"{self.op}[{self.dtype}-{self.profile}-{sizes}{seed}]"

    @property
    def entropy(self) -> int:
        """The seed of this case's numbers, unique so that no two cases share inputs."""
        return zlib.crc32(self.id.encode())


@dataclass(frozen=True)
class Cost:
    """The minimum work of a call: bytes moved through device memory, floating-point operations."""

    bytes: int
    flops: int


@dataclass(frozen=True)
class Contract:
    """The declared precision of an op.

    ``outputs`` maps each output's name to its dtype: a dtype's name, or the name of the input whose dtype it
    takes; ``"a or b"`` is the first of the two that is given, ``"a if c"`` applies only if the input c is true.
    ``casts`` lists, in words, every point at which a number may be rounded to a narrower type before the last
    rounding. ``result_casts`` has those of them that the reference does not make: by the name of a function of PyTorch,
    the argument to whose dtype its result may be rounded.
    ``mutates`` names the inputs written in place, which are outputs too; ``overwrites`` those in which a call may leave
    anything, and in whose memory it may return.
    ``batch_invariant`` is the number of rows from which on a row's bits depend neither on how many rows there are nor
    on what they hold: 1 (or True) is any number, a row alone included, 0 (or False) promises nothing. Among as many
    rows as before a row keeps its bits in any op, whatever its neighbours hold.
    """

    outputs: Mapping[str, str]
    casts: tuple[str, ...] = ()
    accumulator: str = "float32"
    batch_invariant: int = 0
    mutates: tuple[str, ...] = ()
    overwrites: tuple[str, ...] = ()
    result_casts: Mapping[str, str] = field(default_factory=dict)

    @property
    def written(self) -> tuple[str, ...]:
        """The inputs that may differ after the call."""
        return *self.mutates, *self.overwrites

    def output_dtype(self, output: str, inputs: Mapping[str, Any]) -> Any:
        """The dtype that ``output`` must have for these inputs: a dtype's name, or an input's dtype."""
        for choice in self.outputs[output].split(" or "):
            choice, _, switch = choice.partition(" if ")
            if switch and not inputs.get(switch):
                continue
            if choice in (*DTYPES, "int64"):
                return choice
            value = inputs.get(choice)
            if value is not None:
                return getattr(value, "dtype", value)
        raise ValueError(f"contract of output {output!r} names no input that was given")


@dataclass(frozen=True)
class Sweep:
    """Axes along which the sizes gate walks, while all others stay as ``case`` has them: small, so that it is cheap.

    Each of ``axes`` takes the same size, a multiple of ``step``, up to ``max_size``, then each of ``far``; on a GPU up
    to ``max_size_gpu``, where many rows are no more work than few. With ``rows`` they count rows that do not see each
    other: a few different rows are repeated, so that their reference is enough. ``inputs`` makes the arguments where
    those of the op do not do.
    """

    case: Case
    axes: tuple[str, ...]
    max_size: int
    max_size_gpu: int
    far: tuple[int, ...] = ()
    step: int = 1
    rows: bool = False
    inputs: Callable[[Case, str], Inputs] | None = None

    @property
    def name(self) -> str:
        """The axes and the case without its sizes along them: ``rms_norm[T of bfloat16-qwen-H1024]``."""
        others = {name: size for name, size in self.case.axes.items() if name not in self.axes}
        op, case = replace(self.case, axes=others).id.split("[", 1)
        return f"{op}[{' and '.join(self.axes)} of {case}"

    def at(self, size: int) -> Case:
        """The case of this size."""
        return replace(self.case, axes={**self.case.axes, **dict.fromkeys(self.axes, size)})


@dataclass(frozen=True)
class Op:
    """One kernel with all that defines it; its name is its module's.

    ``call(**inputs)`` is the public wrapper; ``reference(**inputs)`` plain PyTorch of the same signature, which in
    float64 defines correctness; ``inputs(case, device)`` makes the keyword arguments; ``bound(**inputs64)`` gives,
    per output, the error that the contract permits before the last rounding, elementwise in float64.
    ``negative_controls`` change the inputs so that the reference leaves one term out; some case must tell each from the
    truth.
    ``benchmark_shapes`` are the axes, by name, in which a real model calls the op in bfloat16: what is timed.
    Timed beside it, called like it: ``eager_baseline``, the op as PyTorch's separate operations; what
    ``library_baselines(inputs)`` gives by name; and cuBLAS alone, if ``gemm_weight`` names the argument that holds the
    matrix of its one product.
    ``contract_checks`` look where cases do not go: each is called with this op, the function under test and a device,
    and gives the violation in words, or None.
    ``sweeps`` are the axes along which the op takes any size: there the gate looks at both sides of every border.
    ``variants`` are equivalent implementations, called like the wrapper: they round elsewhere, within the contract.
    ``not_in_float16`` names those that round what goes into the residual stream to the weights' type, which in float16
    has not the range.
    ``further_outputs`` are references of what other libraries return beside the op's outputs, by name.
    ``compositions`` are such as are made of other ops, whose wrappers they are given first, as attributes.
    """

    call: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: Callable[[Case, str], Inputs]
    cases: tuple[Case, ...]
    contract: Contract
    bound: Callable[..., tuple[Any, ...]]
    cost: Callable[[Case], Cost]
    negative_controls: Mapping[str, Callable[[Inputs], Inputs]]
    benchmark_shapes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    eager_baseline: Callable[..., Any] | None = None
    library_baselines: Callable[[Mapping[str, Any]], Mapping[str, Callable[..., Any]]] = lambda inputs: {}
    gemm_weight: str = ""
    contract_checks: Mapping[str, Callable[[Op, Callable[..., Any], str], str | None]] = field(default_factory=dict)
    sweeps: tuple[Sweep, ...] = ()
    variants: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    not_in_float16: tuple[str, ...] = ()
    compositions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    further_outputs: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The op's name: that of its wrapper and of its file."""
        return self.call.__name__

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in the order in which the wrapper returns them."""
        return tuple(self.contract.outputs)
