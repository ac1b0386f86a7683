"""A golden that does not match is refused with the reason; names lead to checkpoints, texts and goldens."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from braidcheck.errors import CheckpointError, GoldenError, NotAvailable, UserError
from braidcheck.golden import record, resolve, store, texts


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def spoil_format(golden):
    manifest = json.loads((golden / "manifest.json").read_text())
    (golden / "manifest.json").write_text(json.dumps(manifest | {"format": 0}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda golden: flip(golden / "golden.safetensors", -1000), "golden.safetensors was changed after recording"),
        (lambda golden: flip(golden / "golden.safetensors", 3), "golden.safetensors was changed after recording"),
        (lambda golden: flip(golden / "manifest.json", -120), "manifest.json (was changed|is not JSON)"),
        (lambda golden: (golden / "golden.safetensors").write_bytes(b""), "was changed after recording"),
        (lambda golden: (golden / "manifest.json").write_text('{"format": 1'), "manifest.json is not JSON"),
        (lambda golden: (golden / "golden.safetensors").unlink(), "golden.safetensors: No such file"),
        (shutil.rmtree, "manifest.json: No such file"),
        (spoil_format, "has format 0, this braidcheck reads 1"),
    ],
)
def test_a_golden_that_is_not_whole_is_refused(tmp_path, recorded, spoil, words):
    golden = tmp_path / "golden"
    shutil.copytree(recorded, golden)
    store.verify(golden)
    spoil(golden)
    with pytest.raises(GoldenError, match=words) as caught:
        store.load(golden)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"text"'])
def test_a_manifest_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(GoldenError, match="has format None, this braidcheck reads 1"):
        store.load(tmp_path)


def test_typical_noise_is_exceeded_at_one_position_in_twenty():
    truth = torch.zeros(21, 64)
    floor = truth.clone()
    floor[:, 3] = -torch.arange(21.0)
    assert store.typical_noise(truth, floor) == 19.0
    assert store.typical_noise(truth[:1], floor[:1]) == 0.0


def test_every_flipped_byte_of_the_manifest_is_noticed(tmp_path, recorded):
    golden = tmp_path / "golden"
    shutil.copytree(recorded, golden)
    size = (golden / "manifest.json").stat().st_size
    for place in range(0, size, 37):
        flip(golden / "manifest.json", place)
        noticed = json_says(golden) != json_says(recorded)
        if noticed:
            with pytest.raises(GoldenError):
                store.load(golden)
        flip(golden / "manifest.json", place)


def json_says(golden):
    try:
        return json.loads((golden / "manifest.json").read_bytes())
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda place: flip(place / "model.safetensors", -1), "model.safetensors differs"),
        (lambda place: (place / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda place: (place / "vocab.json").write_text("{}"), "vocab.json is new"),
    ],
)
def test_a_golden_of_another_checkpoint_is_refused(tmp_path, recorded, nano, spoil, words):
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(nano, checkpoint)
    store.verify(recorded, checkpoint)
    spoil(checkpoint)
    with pytest.raises(GoldenError, match=f"another checkpoint: {words}; record it again"):
        store.verify(recorded, checkpoint)


def test_a_golden_of_another_text_is_refused(recorded, text):
    store.verify(recorded, corpus_fingerprint=text.fingerprint)
    with pytest.raises(GoldenError, match=r"another text \(three brief documents, fingerprint differs"):
        store.verify(recorded, corpus_fingerprint="0" * 64)


def test_nano_s_golden_is_shipped_and_needs_no_datasets(monkeypatch, nano):
    monkeypatch.setitem(sys.modules, "datasets", None)
    checkpoint, golden = resolve.resolve("nano")
    assert checkpoint == nano
    assert golden.manifest["tokens"] > 4000
    assert golden.manifest["perplexity"]["float32"] < 1.03 * golden.manifest["perplexity"]["generator"]


def test_a_text_without_datasets_says_what_to_do(monkeypatch):
    monkeypatch.setattr(texts, "find_spec", lambda _name: None)
    with pytest.raises(NotAvailable, match="pip install datasets"):
        texts.load_text("corpus")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAIDCHECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_golden_is_recorded_once_and_kept(tmp_path, cache, nano, text, monkeypatch):
    table(tmp_path / "table", {"text": list(text.rows["text"])[:2]})
    checkpoint, golden = resolve.resolve(str(nano), str(tmp_path / "table"), device="cpu")
    assert checkpoint == nano
    assert golden.model == "nano"
    assert len(golden) == 1
    assert golden.manifest["perplexity"]["generator"] is None

    monkeypatch.setattr(record, "record", None)
    _, again = resolve.resolve(str(nano), str(tmp_path / "table"), device="cpu")
    assert again.manifest == golden.manifest
    flip(next(cache.rglob("golden.safetensors")), -1)
    with pytest.raises(GoldenError, match="record it again"):
        resolve.resolve(str(nano), str(tmp_path / "table"), device="cpu")


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("no-such-model", UserError, "no model no-such-model: give nano, a checkpoint directory, or a hub id"),
        ("/no/such/dir", UserError, "no model /no/such/dir"),
        ("./gone", UserError, "no model ./gone"),
        ("Qwen/Qwen3-0.6B", NotAvailable, "the hub cannot be reached: download it"),
    ],
)
def test_no_such_model(model, error, words, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/no/such/cache")
    with pytest.raises(error, match=words) as caught:
        resolve.resolve(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["./gone", "a/b/c", "gone", "/gone", "folder/file"])
def test_what_looks_like_a_path_is_not_asked_of_the_hub(tmp_path, model, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    with pytest.raises(UserError, match="give nano, a checkpoint directory, or a hub id"):
        resolve.find_checkpoint(model)


@pytest.mark.parametrize("model", ["nano", "local", "hub/model"])
def test_a_golden_names_its_model_and_commit(tmp_path, cache, nano, monkeypatch, model):
    asked = []
    monkeypatch.setattr(record, "record", lambda *given: asked.append(given))
    monkeypatch.setattr(store, "verify", lambda *_: None)
    monkeypatch.setattr(resolve, "_from_hub", lambda _model, _revision: (nano, "abc123"))
    (tmp_path / "text.txt").write_text("some text")
    (tmp_path / "local").symlink_to(nano)
    resolve.resolve(str(tmp_path / "local") if model == "local" else model, str(tmp_path / "text.txt"), device="cpu")
    ((_, text, _, device, commit, name, *_),) = asked
    assert (device, commit) == ("cpu", "abc123" if model == "hub/model" else None)
    assert name == {"local": "nano"}.get(model, model)
    assert text.origin != "braidcheck corpus, held-out split"


def test_a_hub_snapshot_is_known_by_its_commit(tmp_path, monkeypatch):
    asked = {}

    def download(model, revision, **_options):
        asked[model] = revision
        return str(tmp_path / "snapshots" / "abc123")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve.find_checkpoint("Qwen/Qwen3-0.6B") == (tmp_path / "snapshots" / "abc123", "abc123")
    resolve.find_checkpoint("some/model", "main")
    assert asked == {"Qwen/Qwen3-0.6B": resolve.PINNED["Qwen/Qwen3-0.6B"], "some/model": "main"}


@pytest.mark.parametrize("names", [[], ["config.json"], ["model.safetensors"]])
def test_a_directory_without_a_checkpoint(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match="it needs config"):
        resolve.resolve(str(tmp_path))


def test_running_text_is_joined_and_cut(tmp_path, nano):
    from braidcheck.golden.hf import load_tokenizer

    lines = [{"text": "get amber fox ? q7k " * 200}, {"text": "sign Kel-dor"}]
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "whole.txt").write_text("\n\n".join(line["text"] for line in lines))
    tokenizer = load_tokenizer(nano)
    cut = [
        texts.tokenise(texts.load_text(str(tmp_path / name)), tokenizer, 4096) for name in ("lines.jsonl", "whole.txt")
    ]
    assert cut[0] == cut[1]
    assert [len(document.ids) for document in cut[0][:-1]] == [texts.WINDOW] * (len(cut[0]) - 1)
    lead = tokenizer("")["input_ids"]
    assert all(list(document.ids[: len(lead)]) == lead for document in cut[0])
    joined = [id for document in cut[0] for id in document.ids[len(lead) :]]
    assert tokenizer.decode(joined).endswith("\n\nsign Kel-dor")


def test_a_document_longer_than_the_model_is_refused(text, nano):
    from braidcheck.golden.hf import load_tokenizer

    with pytest.raises(UserError, match=r"document 0 has \d+ tokens, the model takes 100: shorten it"):
        texts.tokenise(text, load_tokenizer(nano), 100)


def table(path, columns):
    from datasets import Dataset  # here, so that GPU tests are collected where it is missing

    Dataset.from_dict(columns).save_to_disk(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no dataset .*: give corpus, wikitext, or an existing file or directory"),
        (lambda path: Path(path).mkdir(), "cannot read dataset"),
        (lambda path: Path(path).write_text("x"), "give a .txt, .jsonl, .json, .parquet file"),
        (lambda path: table(path, {"prose": ["x"]}), "needs a column `text`, it has prose"),
        (lambda path: table(path, {"text": [""]}), "has no text"),
    ],
)
def test_no_such_text(tmp_path, make, words):
    make(tmp_path / "data")
    with pytest.raises(UserError, match=words) as caught:
        texts.load_text(str(tmp_path / "data"))
    assert "\n" not in str(caught.value)


def test_wikitext_without_a_network_says_what_to_do(monkeypatch):
    def offline(*_args, **_options):
        raise ConnectionError("Couldn't reach the Hub\nlong story")

    monkeypatch.setattr("datasets.load_dataset", offline)
    with pytest.raises(
        NotAvailable, match=r"wikitext cannot be fetched \(Couldn't reach the Hub\): .* pass --dataset DIR"
    ):
        texts.load_text("wikitext")


def test_nano_s_golden_is_held_against_its_checkpoint_and_text(tmp_path, monkeypatch, nano):
    from braidcheck.golden import corpus

    checkpoint = tmp_path / "nano"
    shutil.copytree(nano, checkpoint)
    monkeypatch.setattr(resolve, "NANO", checkpoint)
    resolve.resolve("nano")
    documents = corpus.documents
    monkeypatch.setattr(corpus, "documents", lambda split: list(documents(split))[1:])
    with pytest.raises(GoldenError, match="is of another text"):
        resolve.resolve("nano")
    monkeypatch.undo()
    monkeypatch.setattr(resolve, "NANO", checkpoint)
    flip(checkpoint / "model.safetensors", -1)
    with pytest.raises(GoldenError, match=r"is of another checkpoint: model\.safetensors differs"):
        resolve.resolve("nano")


def test_nano_lies_beside_the_code_or_in_the_wheel_of_its_own(tmp_path, monkeypatch):
    assert resolve._nano_folder() == Path(resolve.__file__).parent
    monkeypatch.setattr(resolve, "HERE", tmp_path / "site-packages")
    assert resolve._nano_folder() == tmp_path / "site-packages"
    (tmp_path / "braidcheck_nano").mkdir()
    (tmp_path / "braidcheck_nano" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve._nano_folder() == tmp_path / "braidcheck_nano"


def test_where_nano_is_not_installed_the_line_says_how(tmp_path, monkeypatch):
    monkeypatch.setattr(resolve, "NANO", tmp_path / "nano")
    with pytest.raises(NotAvailable, match=r"pip install 'braidcheck\[nano\]'"):
        resolve.resolve("nano")


def test_each_checkpoint_and_text_has_a_golden_of_its_own(tmp_path, cache, nano, monkeypatch):
    asked = []
    monkeypatch.setattr(record, "record", lambda _checkpoint, text, place, *_rest: asked.append((text, place)))
    monkeypatch.setattr(store, "verify", lambda place, checkpoint, fingerprint: (place, checkpoint, fingerprint))
    other = tmp_path / "other"
    shutil.copytree(nano, other)
    flip(other / "model.safetensors", -1)
    for words in ("one text", "another text"):
        (tmp_path / f"{words}.txt").write_text(words)
    for checkpoint in (nano, other):
        for words in ("one text", "another text"):
            _, (place, held, fingerprint) = resolve.resolve(str(checkpoint), str(tmp_path / f"{words}.txt"))
            assert (held, fingerprint) == (checkpoint, asked[-1][0].fingerprint)
            assert place == asked[-1][1]
    assert len({place for _, place in asked}) == len({str(place) for _, place in asked}) == 4
    assert all(cache in place.parents for _, place in asked)


def test_goldens_are_kept_where_the_user_says_or_caches(monkeypatch):
    monkeypatch.delenv("BRAIDCHECK_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert resolve.cache_directory() == Path("/caches/braidcheck")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert resolve.cache_directory() == Path("/home/me/.cache/braidcheck")
    monkeypatch.setenv("BRAIDCHECK_CACHE", "~/mine")
    assert resolve.cache_directory() == Path("/home/me/mine")
