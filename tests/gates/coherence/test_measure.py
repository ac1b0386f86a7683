"""Model evidence of HF stand-ins: honest ones pass the coherence gate, faulty ones fail where they should."""

import json

import pytest
import torch

from braidcheck.gates import coherence
from braidcheck.gates.coherence.blame import PART_OF
from braidcheck.gates.coherence.measure import PARTS, kl, measure_coherence
from braidcheck.numerics.error import distance
from braidcheck.numerics.rounding import ROUNDOFF
from braidcheck.result import Status


@pytest.fixture(scope="module")
def right(golden, stand_in):
    """The evidence of a right engine."""
    return measure_coherence(stand_in(), golden)


def failing(engine, golden, right, parts=PARTS):
    """The checks that an engine does not pass, where all parts but these are a right one's."""
    evidence = right | measure_coherence(engine, golden, parts=parts)
    verdicts = zip(coherence.CHECKS, coherence.evaluate(json.loads(json.dumps(evidence, allow_nan=False))), strict=True)
    return {check for check, verdict in verdicts if verdict.status != Status.PASS}


def test_hf_bfloat16_is_its_own_floor(golden, right):
    evidence = right
    for row in evidence["documents"]:
        assert row["kl"] == row["kl_floor"]
        assert row["nll"] == row["nll_floor"]
        assert len(row["kl"]) == len(row["certainty"]) == row["tokens"] == len(row["nll"]) + 1
    assert evidence["hidden"]["engine"] == evidence["hidden"]["floor"]
    assert len(evidence["probes"]) == len(golden.probes())


def test_kl_lumps_the_tail(golden):
    document = golden.document(0)
    places = document.samples.full
    runs = document.truth, document.floor
    truth, floor = (run.full.double().log_softmax(-1) for run in runs)
    whole = (truth.exp() * (truth - floor)).sum(-1)
    truth, floor = (lumped(run, document.top_ids[places].long()) for run in (truth, floor))
    expected = (truth.exp() * (truth - floor)).sum(-1)
    # Golden numbers are kept in float32, of which the KL takes both runs' lse once and their tails by its probability.
    tolerance = sum(run.lse[places].abs() + truth[:, -1].exp() * run.tail[places].abs() for run in runs).double()
    assert distance(kl(*runs)[places], expected, ROUNDOFF[torch.float32] * tolerance).error_ratio < 1
    assert 0.5 * whole.sum() < expected.sum() < whole.sum()  # what is lumped hides a part
    assert kl(document.truth, document.truth).abs().max() == 0


def lumped(log_probabilities, ids):
    """Log-probabilities [F, 65] of [F, V]: those of ids [F, 64], and of all others together."""
    others = log_probabilities.scatter(1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([log_probabilities.gather(1, ids), others], dim=1)


def sdpa(module, q, k, v):
    k, v = (part.repeat_interleave(q.shape[1] // part.shape[1], dim=1) for part in (k, v))
    causal = q.shape[2] > 1
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=module.scaling)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_correct_engines_pass_coherence(golden, stand_in, right, dtype):
    def attention(module, q, k, v):
        return sdpa(module, q.to(dtype), k.to(dtype), v.to(dtype)).to(q.dtype)

    assert failing(stand_in(attention), golden, right) == set()


def theta(engine):
    rotary = engine.model.model.rotary_emb
    exponent = torch.arange(len(rotary.inv_freq)) / len(rotary.inv_freq)
    rotary.inv_freq = 1e4**-exponent


def norm_after_rope(engine):
    plain = engine.attend
    for layer in engine.model.model.layers:
        layer.self_attn.late, layer.self_attn.k_norm = layer.self_attn.k_norm, torch.nn.Identity()
    engine.attend = lambda module, q, k, v: plain(module, q, module.late(k), v)


def leak(engine):
    plain = engine.attend
    engine.attend = lambda module, q, k, v: plain(module, q, k, v, sees=int(q.shape[2] > 1))


def wrong_kv_head(engine):
    plain = engine.attend

    def attention(module, q, k, v):
        spread = torch.arange(q.shape[1]) % k.shape[1]
        return plain(module, q, k[:, spread], v[:, spread])

    engine.attend = attention


def cache_not_written(engine):
    plain = engine.attend

    def attention(module, q, k, v):
        if q.shape[2] == 1:
            k, v = k.clone(), v.clone()
            k[:, :, engine.prompt : -1], v[:, :, engine.prompt : -1] = 0, 0
        return plain(module, q, k, v)

    engine.attend = attention


def embedding_scaled(engine):
    embedding = engine.model.model.embed_tokens
    embedding.register_forward_hook(lambda _m, _i, output: output * output.shape[-1] ** -0.5)


def head_cut_short(engine):
    head = engine.model.lm_head
    head.register_forward_hook(lambda _m, _i, output: output.index_fill(-1, torch.arange(960, 1024), 0))


def nan_logits(engine):
    head = engine.model.lm_head
    head.register_forward_hook(lambda _m, _i, output: output.index_fill(-1, torch.tensor([1000]), torch.nan))


DISTANCE = {"kl", "nll", "position", "logits", "flips"}


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        (theta, {*DISTANCE, "hidden", "recall", "entropy"}),
        (norm_after_rope, {*DISTANCE, "hidden", "entropy"}),
        (leak, {"kl", "nll", "position", "causality", "hidden", "entropy"}),
        (wrong_kv_head, {*DISTANCE, "hidden", "recall", "continuation", "entropy"}),
        (cache_not_written, {"continuation", "decode"}),
        (embedding_scaled, {"hidden"}),
        (head_cut_short, {"kl", "logits"}),
        (nan_logits, {*DISTANCE, "continuation", "decode", "repetition"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_faulty_engines_fail_at_the_right_checks(golden, stand_in, right, fault, checks):
    engine = stand_in()
    fault(engine)
    parts = PARTS if fault is cache_not_written else {PART_OF.get(check, "documents") for check in checks}
    found = failing(engine, golden, right, parts)
    assert checks <= found
    if fault is cache_not_written:
        assert not found & DISTANCE


def test_an_engine_that_breaks_the_interface_is_named(golden, stand_in):
    engine = stand_in()
    plain = engine.forward_logits
    engine.forward_logits = lambda ids, trace=None: plain(ids, trace).bfloat16()
    with pytest.raises(ValueError, match="forward_logits must return float32 logits"):
        measure_coherence(engine, golden)
    engine.forward_logits = lambda ids, trace=None: plain(ids)
    with pytest.raises(ValueError, match="trace must give hidden of every layer, and q and k of all or none"):
        measure_coherence(engine, golden)


def test_entropy_without_q_is_skipped(golden, stand_in, right):
    engine = stand_in()
    plain = engine._tell
    engine._tell = lambda layer, name, tensor: plain(layer, name, tensor) if name == "hidden" else None
    evidence = right | measure_coherence(engine, golden, parts={"documents"})
    assert evidence["entropy"] == {}
    statuses = {v.subject.split(": ")[1]: v.status for v in coherence.evaluate(evidence)}
    assert {check for check, status in statuses.items() if status != Status.PASS} == {"entropy"}
    assert statuses["entropy"] == Status.SKIPPED
