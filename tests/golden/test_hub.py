"""A model from a hub: downloaded, resumed, offline; and what a hub refuses or spoils, each in one line."""

import pytest

from braidcheck.cli import main
from braidcheck.errors import CheckpointError
from braidcheck.golden import resolve, store
from tests.golden.hub import COMMIT, MODEL, Mirror

WEIGHTS = "model.safetensors"
FILES = {"config.json": b'{"model_type": "llama"}', WEIGHTS: bytes(range(250)) * 12, "tokenizer.json": b"{}"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A mirror that huggingface_hub takes for the hub, with an empty cache."""
    from huggingface_hub import constants

    with Mirror(FILES | {"README.md": b"not wanted"}) as mirror:
        monkeypatch.setattr(constants, "ENDPOINT", mirror.url)  # as HF_ENDPOINT sets them
        template = mirror.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("BRAIDCHECK_CACHE", str(tmp_path / "goldens"))
        yield mirror


def downloads(hub, name):
    return [part for method, path, part in hub.requests if method == "GET" and path.endswith(f"/{COMMIT}/{name}")]


def test_a_model_is_downloaded_once_and_then_found_offline(hub, monkeypatch):
    place, commit = resolve.find_checkpoint(MODEL)
    assert commit == COMMIT
    assert {path.name: path.read_bytes() for path in place.iterdir()} == FILES
    assert store.checkpoint_files(place)[WEIGHTS] == hub.sha256(WEIGHTS)
    resolve.find_checkpoint(MODEL)
    assert len(downloads(hub, WEIGHTS)) == 1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert resolve.find_checkpoint(MODEL, COMMIT) == resolve.find_checkpoint(MODEL) == (place, COMMIT)
    assert not hub.requests


def test_a_download_that_broke_off_goes_on_where_it_ended(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100)  # bytes, of which whole ones are kept
    hub.hang_up[WEIGHTS] = 1000
    place, _ = resolve.find_checkpoint(MODEL)
    assert downloads(hub, WEIGHTS) == ["", "bytes=1000-"]
    assert (place / WEIGHTS).read_bytes() == FILES[WEIGHTS]


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "words"),
    [
        (401, "", 2, "the hub has no model owner/model, or it needs a login: check the name, or set HF_TOKEN"),
        (401, "GatedRepo", 2, "owner/model needs a login: accept its terms on the hub and set HF_TOKEN"),
        (403, "GatedRepo", 2, "owner/model needs a login: accept its terms on the hub and set HF_TOKEN"),
        (403, "", 2, "owner/model needs a login: accept its terms on the hub and set HF_TOKEN"),
        (404, "RepoNotFound", 2, "the hub has no model owner/model, or it needs a login: check the name"),
        (500, "", 3, "owner/model is not in the local hub cache and the hub answers 500: download it where"),
    ],
)
@pytest.mark.parametrize("revision", [(), ("--revision", COMMIT)], ids=["branch", "commit"])
def test_what_the_hub_refuses_is_one_line(hub, tmp_path, capsys, status, code, exit_code, words, revision):
    hub.status, hub.error_code = status, code
    assert main(["golden", "record", MODEL, "--out", str(tmp_path / "golden"), *revision]) == exit_code
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith(f"braidcheck: {words}")
    assert not (tmp_path / "golden").exists()


@pytest.mark.parametrize("revision", ["f" * 40, "dev"])
def test_a_revision_that_is_none_is_named(hub, tmp_path, capsys, revision):
    assert main(["golden", "record", MODEL, "--revision", revision, "--out", str(tmp_path / "golden")]) == 2
    assert f"the hub has no revision {revision} of owner/model" in capsys.readouterr().err
    assert not downloads(hub, WEIGHTS)


def test_weights_that_come_too_short_are_refused_and_not_kept(hub, tmp_path, capsys):
    hub.served[WEIGHTS] = FILES[WEIGHTS][:2000]
    assert main(["golden", "record", MODEL, "--out", str(tmp_path / "golden")]) == 2
    assert "owner/model could not be downloaded completely" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob(WEIGHTS))
    hub.served.clear()
    place, _ = resolve.find_checkpoint(MODEL)
    assert (place / WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_weights_of_another_hash_are_refused(hub, tmp_path, capsys):
    hub.served[WEIGHTS] = FILES[WEIGHTS][::-1]
    assert main(["golden", "record", MODEL, "--out", str(tmp_path / "golden")]) == 2
    assert f"differs from the hub's {WEIGHTS}: delete it and try again" in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(CheckpointError):
        store.checkpoint_files(resolve.find_checkpoint(MODEL)[0])
