"""The evidence of ``measure.measure_static``, as plain data (standard library only)."""

from __future__ import annotations

from typing import TypedDict


class Seen(TypedDict, total=False):
    """The resources and instructions of a compiled kernel; or only the compiler's ``error``.

    registers a thread; spills, bytes of local memory a thread (stack); shared bytes a program; warps a program;
    occupancy, resident warps a multiprocessor; instructions in the machine code; matrix, the number of instructions
    of each kind; loads and stores of global memory, a number for each width in bits; stages. Counts are of the code's
    text, not of what is executed.
    """

    registers: int
    spills: int
    shared: int
    warps: int
    stages: int
    occupancy: int
    instructions: int
    matrix: dict[str, int]
    loads: dict[str, int]
    stores: dict[str, int]
    error: str


class _Told(TypedDict):
    op: str
    configuration: str
    kernel: str
    target: str
    shared_limit: int
    bytes: int | None
    flops: int | None


class Row(_Told, Seen):
    """One configuration and target, with the bytes and flops that the op's cost says."""


class Evidence(TypedDict):
    """All configurations, and the version of the Triton that compiled them."""

    triton: str
    rows: list[Row]
