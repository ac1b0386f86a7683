"""Two gate runs on one GPU are noticed; on two GPUs they do not meet."""

import tempfile

import pytest

from braidcheck.errors import NotAvailable
from braidcheck.gpu_claim import claim

GPUS = [{"id": "0", "uuid": "a"}, {"id": "1", "uuid": "b"}]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_second_run_on_a_gpu_is_refused_until_the_first_has_ended():
    refusal = r"GPU 1 is in use by another gate run \(process \d+\): wait"
    with claim(GPUS), pytest.raises(NotAvailable, match=refusal), claim(GPUS[1:]):
        pass
    with claim(GPUS[1:]):
        pass


def test_runs_on_different_gpus_do_not_meet():
    with claim(GPUS[:1]), claim(GPUS[1:]):
        pass


def test_the_same_hardware_under_another_number_is_noticed():
    with claim(GPUS[:1]), pytest.raises(NotAvailable), claim([{"id": "3", "uuid": "a"}]):
        pass
