"""Writes the sample reports of this folder: of a Run as it is, and of one at the end of a made-up history.

    python docs/make_samples.py GREEN.json FAULTY.json MATRIX.json ...

GREEN.json is a real Run; FAULTY.json one of the same tree with a fault planted in a kernel. The nights before it are
made up: AR(1) noise with spikes around the Run's own timings (around invented ones where it timed nothing), one of them
slowed down by 3% eighteen nights ago.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from braidcheck.ci.trend.evaluate import evaluate
from braidcheck.cli.mutants import read_matrix
from braidcheck.report import page
from braidcheck.result import Run, Status, Verdict
from tools.trend import synthetic

FOLDER = Path(__file__).parent
NIGHTS, AGO, SLOWER = 140, 18, 1.03
SLOWED = "gate_up_silu[512 tokens]"
INVENTED = {
    "rms_norm[512 tokens]": 4.1,
    "qkv_rope[512 tokens]": 21.3,
    SLOWED: 38.6,
    "linear_residual[512 tokens]": 19.2,
    "attention_decode[16 rows of 2048]": 31.5,
    "lm_head[16 tokens]": 87.0,
}


def main(green: str, faulty: str, *matrices: str) -> None:
    """Write both samples."""
    runs = [Run.from_json(Path(path).read_text(encoding="utf-8")) for path in (green, faulty)]
    kills = [read_matrix(Path(path)) for path in matrices]
    _write("sample-run.html", page.Subject("a Run", runs[0], matrices=kills))
    nights = history(*runs)
    title = "a planted fault, and a simulated slow-down"
    lanes = [run.environment.get("lanes") for run in runs]
    base = runs[0] if lanes[0] == lanes[1] else None
    _write("sample-regressions.html", page.Subject(title, nights[-1], nights, evaluate(nights), base, kills))


def history(green: Run, faulty: Run) -> list[Run]:
    """The nights, oldest first; the last holds the verdicts of ``faulty`` too."""
    levels = {v.subject: v.value for v in green.verdicts if v.gate == "timing" and v.value} or INVENTED
    levels = {name: levels.get(name, INVENTED[name]) for name in INVENTED}
    logs = {name: _noise(number) for number, name in enumerate(levels)}
    last = datetime.fromisoformat(faulty.environment["started"])
    made = []
    for night in range(NIGHTS):
        timed = tuple(_timed(name, level * np.exp(logs[name][night]), night) for name, level in levels.items())
        day = last - timedelta(days=NIGHTS - 1 - night)
        commit = f"{green.environment['commit'][:8]}~{NIGHTS - 1 - night}" if night < NIGHTS - 1 else None
        environment = faulty.environment | {"started": day.isoformat()} | ({"commit": commit} if commit else {})
        made.append(Run(environment, (), timed))
    kept = tuple(v for v in faulty.verdicts if v.gate != "timing")
    made[-1] = replace(made[-1], verdicts=kept + made[-1].verdicts, expected=())
    return made


def _noise(seed: int) -> np.ndarray:
    scenario = synthetic.Scenario("sample", 0.004, phi=0.5, spikes=0.02)
    ((logs, _, _),) = scenario.histories(1, 0.0, seed)
    return logs[:NIGHTS]


def _timed(name: str, value: float, night: int) -> Verdict:
    slower = SLOWER if name == SLOWED and night >= NIGHTS - AGO else 1.0
    said = "made up for this sample"
    return Verdict("timing", name, Status.PASS, said, value=float(value * slower), unit="us", lane="gpu")


def _write(name: str, subject: page.Subject) -> None:
    (FOLDER / name).write_text(page.render(subject), encoding="utf-8")
    print(FOLDER / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
