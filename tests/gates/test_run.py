"""Gates that need a GPU, on measurements that are made up: each subject that was named has its verdict."""

import pytest

from braidcheck.gates import GATES
from braidcheck.settings import Settings

NOTHING = {"reason": "no clocks"}
LAYERS = [
    {"layer": layer, "mode": mode, "engine": 0.1, "hf_bf16": 0.1}
    for layer in range(28)
    for mode in ("prefill", "decode")
]
MEASURED = {
    "layers": ("braidcheck.gates.layers.measure.measure_layers", LAYERS),
    "timing": ("braidcheck.benchmarks.timing.measure_timing", NOTHING),
    "paired": ("braidcheck.ci.paired.measure.measure_paired", NOTHING),
    "speed": ("braidcheck.benchmarks.speed.measure_speed", {}),
    "speed_targets": ("braidcheck.benchmarks.fusions.measure_fusions", NOTHING),
}


@pytest.mark.parametrize("name", [name for name, gate in GATES.items() if gate.needs_gpu])
def test_run_gives_a_verdict_for_each_subject(monkeypatch, name):
    gate, settings = GATES[name], Settings("gpu", "out")
    where, measured = MEASURED[name]
    monkeypatch.setattr(where, lambda *_, **__: measured)
    subjects = list(gate.subjects(settings))
    verdicts = list(gate.run(settings, subjects, lambda text: None))
    assert subjects
    assert sorted(verdict.subject for verdict in verdicts) == sorted(subjects)
    assert {verdict.gate for verdict in verdicts} == {name}
