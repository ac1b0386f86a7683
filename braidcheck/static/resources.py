"""Reads a compiled kernel's resources and instructions from its machine code, without driver or GPU."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget

from braidcheck.arch import Arch
from braidcheck.static.evidence import Seen
from braidcheck.static.launches import Launch

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
INSTRUCTION = 16  # bytes, on every NVIDIA GPU since sm_70
NVIDIA_MATRIX = {"mma": r"\bmma\.sync", "wgmma": r"\bwgmma\.mma_async", "tcgen05": r"\btcgen05\.mma"}
AMD_BITS = {"byte": 8, "short": 16, "dword": 32}


def triton_target(target: Arch) -> GPUTarget:
    """The same GPU in Triton's words."""
    return GPUTarget(target.backend, target.triton_arch, target.warp_size)


def read(launch: Launch, target: Arch) -> Seen:
    """Compile ``launch`` for ``target`` and read the result. Raises the compiler's exceptions."""
    compiled = launch.compile(triton_target(target))
    seen: Seen = {
        "shared": compiled.metadata.shared,
        "warps": compiled.metadata.num_warps,
        "stages": compiled.metadata.num_stages,
    }
    seen |= _amd(compiled.asm["amdgcn"]) if target.backend == "hip" else _nvidia(compiled.asm)
    return {**seen, "occupancy": target.occupancy(seen)}


def _nvidia(asm: Mapping[str, Any]) -> Seen:
    ptx = asm["ptx"]
    usage = _usage(asm["cubin"])
    return {
        "registers": usage["REG"],
        "spills": usage["STACK"] + usage["LOCAL"],
        "instructions": _text_size(asm["cubin"]) // INSTRUCTION,
        "matrix": {
            kind: count for kind, completed in NVIDIA_MATRIX.items() if (count := len(re.findall(completed, ptx)))
        },
        "loads": _widths(_ptx_accesses(ptx, "ld") + _asynchronous(ptx)),
        "stores": _widths(_ptx_accesses(ptx, "st")),
    }


def _usage(cubin: bytes) -> dict[str, int]:
    """Registers, stack and local memory, as recorded by ptxas."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        completed = subprocess.run(
            [CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    return {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", completed)}


def _text_size(elf: bytes) -> int:
    """Bytes of all ``.text`` sections of a 64-bit ELF file."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    sections = [struct.unpack_from("<IIQQQQ", elf, table + index * size) for index in range(count)]
    names_at = sections[names][4]
    return sum(length for name, *_, length in sections if elf.startswith(b".text", names_at + name))


def _ptx_accesses(ptx: str, kind: str) -> list[int]:
    """Width in bits of every access by ``ld.global`` or ``st.global``."""
    matches = re.findall(rf"\b{kind}\.global[.\w:]*?(?:\.v(\d))?\.([busf]\d+)\b", ptx)
    return [int(count or 1) * int(element[1:]) for count, element in matches]


def _asynchronous(ptx: str) -> list[int]:
    """Width in bits of every asynchronous copy from global to shared memory."""
    return [8 * int(size, 0) for size in re.findall(r"cp\.async\.c[ag]\.shared\.global[^;]*?\], (0x\w+|\d+)", ptx)]


def _amd(text: str) -> Seen:
    fields = {name: int(value) for name, value in re.findall(r"^\s+\.(\w+):\s+(\d+)$", text, re.MULTILINE)}
    operations = re.findall(r"^\t([a-z]+_\w+)", text, re.MULTILINE)
    matrix = Counter("mfma" for name in operations if name.startswith("v_mfma"))
    return {
        "registers": fields["vgpr_count"],
        "spills": fields["private_segment_fixed_size"] or 4 * fields["vgpr_spill_count"],
        "instructions": len(operations),
        "matrix": dict(matrix),
        "loads": _widths(_amd_accesses(operations, "load")),
        "stores": _widths(_amd_accesses(operations, "store")),
    }


def _amd_accesses(operations: list[str], kind: str) -> list[int]:
    access = rf"(?:global|buffer|flat)_{kind}_[us]??(byte|short|dword)(?:x(\d))?"
    matches = (re.match(access, name) for name in operations)
    return [AMD_BITS[hit[1]] * int(hit[2] or 1) for hit in matches if hit]


def _widths(bits: list[int]) -> dict[str, int]:
    return {str(width): count for width, count in sorted(Counter(bits).items(), reverse=True)}
