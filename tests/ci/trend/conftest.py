"""Runs made up night by night."""

import pytest

from braidcheck.result import Run, Status, Verdict


@pytest.fixture
def nights():
    """Makes one Run a night of the values of one series; None is a measurement that failed, "" one that is not there.

    ``environment`` and ``control`` may be functions of the night.
    """

    def make(values, name="decode", unit="us", control=None, status=Status.PASS, environment=lambda night: {}):
        made = []
        for night, value in enumerate(values):
            metrics = {"control": control(night)} if control else {}
            failed = Verdict("speed", name, Status.ERROR, "the GPU fell off", lane="gpu")
            verdict = failed if value is None else Verdict(
                "speed", name, status, "fine", value=value, unit=unit, lane="gpu", metrics=metrics,
            )  # fmt: skip
            where = {"started": str(night), "hardware": "H200", "commit": f"{night:040}"} | environment(night)
            made.append(Run(where, (), () if value == "" else (verdict,)))
        return made

    return make
