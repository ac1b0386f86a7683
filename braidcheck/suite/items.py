"""The gates as pytest items: ``test_<gate>[subject]`` returns that gate's verdict on that subject."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from braidcheck import kernels
from braidcheck.gates import GATES
from braidcheck.gates.gate import Gate
from braidcheck.plugin import SETTINGS
from braidcheck.result import Status, Verdict

UNKNOWN = "every subject"  # the subject of a gate that failed to list its subjects
_failed: dict[str, Exception] = {}  # by gate, why it could not


def pytest_generate_tests(metafunc: Any) -> None:
    """One item per subject."""
    gate, settings = _gate_of(metafunc.function), metafunc.config.stash[SETTINGS]
    reason = gate.why_not(settings.lane)
    try:
        subjects = [gate.stand_in] if reason and gate.stand_in else [*gate.subjects(settings), *_broken(gate, settings)]
    except Exception as error:  # the item raises it, so that it is only this gate's error
        _failed[gate.name] = error
        subjects = [gate.stand_in or UNKNOWN]
    plain = set(subjects) if reason or gate.name in _failed else set(_broken(gate, settings))
    metafunc.parametrize("subject", [name if name in plain else _with_memory(gate, name) for name in subjects], ids=str)


def _broken(gate: Gate, settings: Any) -> dict[str, str]:
    """The ops to be tested that cannot be imported, and why."""
    broken = kernels.left_out() if gate.per_op else {}
    return {op: reason for op, reason in broken.items() if not settings.ops or op in settings.ops}


def _with_memory(gate: Gate, subject: str) -> Any:
    """The subject, marked with the GPU memory that it needs."""
    needed = gate.gpu_memory(subject)
    return pytest.param(subject, marks=[pytest.mark.gpu_memory(needed)] if needed else [], id=subject)


def _test(gate: Gate) -> Callable[..., Verdict]:
    """The test function of a gate."""

    def test(subject: str, settings: Any, progress: Any, request: Any) -> Verdict:
        if error := _failed.get(gate.name):
            raise error
        if reason := gate.why_not(settings.lane):
            return Verdict(gate.name, subject, Status.SKIPPED, reason)
        if (broken := _broken(gate, settings)) and subject in broken:
            return Verdict(gate.name, subject, Status.FAIL, f"{broken[subject]}.")
        if gate.in_one_worker:
            return request.getfixturevalue(f"{gate.name}_verdicts")[subject]
        (verdict,) = gate.run(settings, [subject], progress)
        return verdict

    test.gate = gate  # type: ignore[attr-defined]
    return pytest.mark.timeout(gate.timeout_s)(test) if gate.timeout_s else test


def _verdicts(gate: Gate) -> Callable[..., dict[str, Verdict]]:
    """The fixture of a gate that measures once for all its subjects."""

    @pytest.fixture(scope="module", name=f"{gate.name}_verdicts")
    def verdicts(settings: Any, progress: Any, request: Any) -> dict[str, Verdict]:
        items = [item for item in request.session.items if _gate_of(item.function) is gate]
        subjects = [item.callspec.params["subject"] for item in items]
        subjects = [subject for subject in subjects if subject not in _broken(gate, settings)]
        return {verdict.subject: verdict for verdict in gate.run(settings, subjects, progress)}

    return verdicts


def _gate_of(function: Any) -> Gate:
    return function.gate


for _gate in GATES.values():
    globals()[f"test_{_gate.name}"] = _test(_gate)
    if _gate.in_one_worker:
        globals()[f"{_gate.name}_verdicts"] = _verdicts(_gate)
