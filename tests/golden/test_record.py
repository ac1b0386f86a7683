"""What a golden holds is what HF transformers says, and a recording is whole or not there."""

import json
import math
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from braidcheck.errors import CheckpointError, UserError
from braidcheck.golden import store
from braidcheck.golden.readings import Samples, Tracer, attention_weights, best_ids, entropy, first_argmax, noise
from braidcheck.golden.record import _id_dtype, _samples, _surest, record
from braidcheck.numerics.error import distance
from braidcheck.numerics.rounding import ROUNDOFF, dot_error, norm_error, sum_error


@pytest.fixture(scope="module")
def hf(nano):
    from transformers import Qwen3ForCausalLM

    def load(dtype):
        return Qwen3ForCausalLM.from_pretrained(
            nano, dtype=dtype, attn_implementation="eager", use_kernels=False
        ).eval()

    return {"truth": load(torch.float32), "floor": load(torch.bfloat16)}


@pytest.mark.numeric
@pytest.mark.parametrize("run", ["truth", "floor"])
def test_readings_are_hf_s_own(recorded, hf, run):
    document = store.load(recorded).document(1)
    with torch.inference_mode():
        options = {"use_cache": False, "output_attentions": True, "output_hidden_states": True}
        out = hf[run](document.ids[None], **options)
    readings, logits = getattr(document, run), out.logits[0]
    places = document.samples.positions
    exact = logits.double()
    nll = torch.nn.functional.cross_entropy(exact[:-1], document.ids[1:], reduction="none")
    lse = exact.logsumexp(-1)
    # Both sides sum up to that many terms in float64, in any order; the errors of their logarithms are as large.
    twice = 2 * logits.shape[1] * ROUNDOFF[torch.float64]
    assert distance(readings.nll, nll, twice * (1 + lse[:-1].abs())).error_ratio < 1
    assert distance(readings.lse, lse, twice * (1 + lse.abs())).error_ratio < 1
    assert torch.equal(readings.top, logits.gather(1, document.top_ids))
    joined = torch.logaddexp(readings.top.double().logsumexp(-1), readings.tail.double())
    # The tail is kept in float32.
    assert (
        distance(joined, lse, twice * (1 + lse.abs()) + ROUNDOFF[torch.float32] * readings.tail.abs()).error_ratio < 1
    )
    assert torch.equal(readings.full, logits[document.samples.full])
    assert torch.equal(readings.argmax, first_argmax(logits))
    # HF's last hidden state is behind the final norm, so the residual streams are all but that.
    streams = torch.stack(out.hidden_states[1:-1])[:, 0, places].float()
    streams, projection = streams.double(), document.samples.projection.double()
    tolerance = dot_error(streams.abs() @ projection.abs(), len(projection))
    assert distance(readings.hidden[:-1], streams @ projection, tolerance).error_ratio < 1
    norm = streams.norm(dim=-1)
    assert distance(readings.norm[:-1], norm, norm_error(len(projection)) * norm).error_ratio < 1
    weights = torch.stack(out.attentions)[:, 0, :, places].double()
    entropies = torch.distributions.Categorical(weights).entropy()
    assert distance(readings.entropy, entropies, twice * (1 + entropies)).error_ratio < 1
    assert all(part.isfinite().all() for part in vars(readings).values())


def test_the_top_logits_are_the_float32_run_s_best_first(recorded):
    document = store.load(recorded).document(0)
    assert document.truth.top.shape[1] == 64
    assert (document.truth.top.diff(dim=1) <= 0).all()
    assert (document.truth.top[:, -1:] >= document.truth.full.sort(dim=-1).values.amin()).all()
    assert torch.equal(document.top_ids[:, 0].int(), document.truth.argmax)


def test_greedy_answers_are_hf_s_own(recorded, hf):
    golden = store.load(recorded)
    assert len(golden.continuations()) == 2
    for answer in golden.continuations():
        prompt = golden.document(answer.document).ids[: answer.prompt][None]
        with torch.inference_mode():
            out = hf["truth"].generate(prompt, do_sample=False, max_new_tokens=20)
        assert out[0, answer.prompt :].tolist() == list(answer.ids)
        assert len(answer.margin) == len(answer.noise) == len(answer.ids)
        assert (answer.margin >= 0).all()
        with torch.inference_mode():
            whole = torch.cat([prompt[0], torch.tensor(answer.ids)])[None]
            best = hf["truth"](whole).logits[0, answer.prompt - 1 : -1].float().topk(2).values
        # The same text in another batch of rows: float32 rounds far less than bfloat16 errs.
        assert ((answer.margin - (best[:, 0] - best[:, 1])).abs() <= golden.typical_noise).all()


def test_probes_cover_the_answers(recorded, text, nano):
    from transformers import AutoTokenizer

    tokenizer, golden = AutoTokenizer.from_pretrained(nano), store.load(recorded)
    wanted = [row["text"][probe["start"] : probe["end"]] for row in text.rows for probe in row["probes"]]
    found = [tokenizer.decode(golden.document(p.document).ids[p.first : p.last]) for p in golden.probes()]
    assert len(found) > 10
    assert all(answer in covering for answer, covering in zip(wanted, found, strict=True))
    assert [probe.kind for probe in golden.probes()] == [probe["kind"] for row in text.rows for probe in row["probes"]]


@pytest.mark.numeric
def test_the_manifest_says_where_it_comes_from(recorded, nano, text):
    manifest = json.loads((recorded / "manifest.json").read_text())
    assert manifest["model"]["files"] == store.checkpoint_files(nano)
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= manifest["model"]["files"].keys()
    assert manifest["corpus"] == {"origin": text.origin, "fingerprint": text.fingerprint}
    assert manifest["runs"] == {
        "dtypes": ["float32", "bfloat16"],
        "attention": "eager",
        "hub_kernels": False,
        "device": "cpu",
    }
    assert manifest["versions"].keys() >= {"torch", "transformers", "tokenizers", "python"}
    assert manifest["command"] == "braidcheck golden record nano"
    nll = [store.load(recorded).document(number).truth.nll.double() for number in range(3)]
    nll = torch.cat(nll)
    # A mean of float64 numbers above 0 in any order; the exponential makes its error relative.
    rounding = 2 * len(nll) * 2.0**-53 * (1 + nll.mean().item())
    assert manifest["perplexity"]["float32"] == pytest.approx(nll.mean().exp().item(), rel=rounding)
    assert 1 < manifest["perplexity"]["generator"] < manifest["perplexity"]["float32"] * 1.1


@pytest.mark.numeric
def test_entropy_from_q_and_k_is_causal_and_grouped():
    generator = torch.Generator().manual_seed(9)
    q, k = torch.randn(9, 6, 8, generator=generator), torch.randn(9, 2, 8, generator=generator)
    weights = attention_weights(q, k, torch.arange(9))
    assert torch.equal(weights.triu(1), torch.zeros_like(weights))
    q, k = q.double(), k.double()
    for head in range(6):
        query, keys = q[8, head] * 8**-0.5, k[:, head // 3]
        expected = (keys @ query).softmax(-1)
        # A score's error is a weight's relative one, once its own and once through the sum; it has five roundings more.
        score = (dot_error(keys.abs() @ query.abs(), 8) + 2 * ROUNDOFF[torch.float32] * (keys @ query).abs()).max()
        tolerance = (2 * score + sum_error(9) + 5 * ROUNDOFF[torch.float32]) * expected
        assert distance(weights[head, 8], expected, tolerance).error_ratio < 1
    assert torch.equal(entropy(torch.full((1, 4), 0.25)), torch.tensor([math.log(4)]))


def test_an_interrupted_recording_leaves_nothing(tmp_path, nano, text):
    def interrupt(line):
        if "document 2" in line:
            raise KeyboardInterrupt

    place = tmp_path / "goldens" / "new"
    with pytest.raises(KeyboardInterrupt):
        record(nano, text, place, device="cpu", progress=interrupt)
    assert not list(tmp_path.rglob("*.*"))


def test_an_interrupted_write_leaves_the_old_golden(tmp_path, recorded, nano, text, monkeypatch):
    place = tmp_path / "golden"
    shutil.copytree(recorded, place)

    def interrupt(_manifest):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "digest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        record(nano, text, place, device="cpu")
    monkeypatch.undo()
    store.verify(place, nano, text.fingerprint)
    assert [path.name for path in tmp_path.iterdir()] == ["golden"]


def test_a_place_that_holds_something_else_is_left_alone(tmp_path, nano, text):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not a golden: give an empty folder"):
        record(nano, text, tmp_path)


def broken(nano, place, spoil):
    shutil.copytree(nano, place)
    spoil(place)
    return place


def lose_a_tensor(place):
    tensors = load_file(place / "model.safetensors")
    del tensors["model.layers.1.self_attn.k_norm.weight"]
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})


def add_a_tensor(place):
    tensors = load_file(place / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(384)
    save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})


def another_architecture(place):
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))


def truncate(place):
    data = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lose_a_tensor, "lacks model.layers.1.self_attn.k_norm.weight"),
        (add_a_tensor, r"q_proj.bias, which Qwen3ForCausalLM does not have: is config.json its own\\?"),
        (another_architecture, "cannot load .*number of attention heads"),
        (truncate, "cannot load"),
        (lambda place: (place / "config.json").write_text("{"), "is not JSON"),
        (lambda place: (place / "tokenizer.json").unlink(), "no tokenizer"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(tmp_path, nano, text, spoil, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        record(broken(nano, tmp_path / "checkpoint", spoil), text, tmp_path / "golden")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "golden").exists()


def test_ids_take_the_smallest_type_that_holds_them_all():
    assert [_id_dtype(size) for size in (300, 32768, 32769, 151936)] == [torch.int16] * 2 + [torch.int32] * 2
    assert torch.tensor([32767, 151935], dtype=_id_dtype(151936)).tolist() == [32767, 151935]
    assert torch.tensor([32767], dtype=_id_dtype(32768)).tolist() == [32767]


def test_noise_is_the_largest_error_at_a_position():
    truth = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    floor = torch.tensor([[1.5, 2.0, 3.0], [4.0, 5.0, 4.0]])
    assert noise(truth, floor).tolist() == [0.5, 2.0]


def surest(sure, margins=None):
    """The longest sure stretch of a document whose tokens after the first are foreseen where ``sure`` says so."""
    count = len(sure) + 1
    top = torch.tensor([[margin, 0.0] for margin in margins or [9.0] * count])
    argmax = torch.tensor([*(7 if good else 0 for good in sure), 7])
    truth, floor = SimpleNamespace(top=top, argmax=argmax), SimpleNamespace(top=top + 0.01)
    return _surest(SimpleNamespace(ids=[7] * count), (truth, floor))


@pytest.mark.parametrize(
    ("sure", "found"),
    [([0, 0], (0, 3)), ([1, 0, 1, 1, 0], (2, 3)), ([1, 1, 1], (3, 1)), ([0, 1], (1, 2)), ([0] * 385 + [1], (0, 384))],
)
def test_the_surest_stretch_begins_where_its_prompt_ends(sure, found):
    assert surest(sure) == found


def test_what_is_foreseen_by_a_hair_is_not_sure():
    assert surest([1, 1, 1, 1], margins=[9.0, 0.0, 9.0, 9.0, 9.0]) == (2, 3)
    assert surest([1, 1], margins=[0.0, 9.0, 9.0]) == (1, 2)


def test_an_engine_that_shows_no_q_has_no_entropy():
    tracer = Tracer(Samples(torch.tensor([0]), torch.tensor([0]), torch.ones(4, 2)))
    tracer(0, "hidden", torch.ones(3, 4))
    assert tracer.stacked()["entropy"].numel() == 0


@pytest.mark.parametrize(("has_gpu", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_golden_is_recorded_on_the_gpu_if_there_is_one(tmp_path, nano, text, monkeypatch, has_gpu, device):
    def load(_checkpoint, _dtype, given):
        raise CheckpointError(given)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr("braidcheck.golden.record.load_reference", load)
    with pytest.raises(CheckpointError, match=device):
        record(nano, text, tmp_path / "golden")


@pytest.mark.parametrize(("length", "count"), [(3, 3), (10, 4), (639, 9), (640, 10), (2048, 32), (4096, 32)])
def test_places_are_spread_over_a_document_and_hold_its_last(length, count):
    (samples,) = _samples([length], 1000, torch.ones(4, 2))
    places = samples.positions.tolist()
    assert (len(places), places[-1]) == (count, length - 1)
    assert min(places) >= 0
    gaps = torch.tensor([-1, *places]).diff()
    assert gaps.min() >= length // count
    assert gaps.max() <= -(-length // count)
    assert set(samples.full.tolist()) <= set(places)


def test_the_best_ids_leave_one_word_for_the_tail():
    logits = torch.tensor([[3.0, 1.0, 2.0, 5.0, 4.0]] * 3)
    assert best_ids(logits).tolist() == [[3, 4, 0, 2]] * 3


def test_layers_are_stacked_in_their_order_and_none_may_be_left_out():
    def traced(*calls):
        tracer = Tracer(Samples(torch.tensor([0]), torch.tensor([0]), torch.ones(4, 2)))
        for layer, name in calls:
            tracer(layer, name, torch.full((3, 4), 1.0 + layer) if name == "hidden" else torch.ones(3, 1, 4))
        return tracer

    stacked = traced((1, "hidden"), (0, "hidden")).stacked()
    assert stacked["norm"].flatten().tolist() == [2.0, 4.0]
    for calls in (
        [],
        [(0, "q"), (0, "k")],
        [(1, "hidden")],
        [(0, "hidden"), (1, "hidden"), (1, "q"), (1, "k")],
        [(0, "hidden"), (1, "q"), (1, "k")],
    ):
        with pytest.raises(ValueError, match="hidden of every layer, and q and k of all or none"):
            traced(*calls).stacked()


def test_eight_positions_are_kept_in_full_however_large_the_vocabulary():
    (samples,) = _samples([4096], 10**9, torch.ones(4, 2))
    assert len(samples.full) == 8
