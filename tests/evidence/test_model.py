"""Model evidence of HF stand-ins: honest ones pass the coherence gate, faulty ones fail where they should."""

import json

import pytest
import torch

from braidcheck.evidence.model import kl, observe_coherence
from braidcheck.gates import coherence
from braidcheck.results import Status


def failing(engine, golden):
    evidence = observe_coherence(engine, golden)
    verdicts = zip(coherence.CHECKS, coherence.judge(json.loads(json.dumps(evidence, allow_nan=False))), strict=True)
    return {check for check, verdict in verdicts if verdict.status != Status.PASS}


def test_hf_bfloat16_is_its_own_floor(golden, stand_in):
    evidence = observe_coherence(stand_in(), golden)
    for row in evidence["documents"]:
        assert row["kl"] == pytest.approx(row["kl_floor"], rel=0.3, abs=1e-4)
        assert row["nll"] == pytest.approx(row["nll_floor"], abs=0.1)
        assert len(row["kl"]) == len(row["certainty"]) == row["tokens"] == len(row["nll"]) + 1
    assert evidence["hidden"]["engine"] == pytest.approx(evidence["hidden"]["floor"], rel=0.05)
    assert len(evidence["probes"]) == len(golden.probes())


def test_kl_lumps_the_tail_and_agrees_with_the_whole_vocabulary(golden):
    document = golden.document(0)
    places = document.samples.full
    truth, floor = (run.full.double().log_softmax(-1) for run in (document.truth, document.floor))
    whole = (truth.exp() * (truth - floor)).sum(-1)
    assert torch.allclose(kl(document.truth, document.floor)[places], whole, rtol=0.05, atol=1e-6)
    assert kl(document.truth, document.truth).abs().max() == 0


def sdpa(module, q, k, v):
    k, v = (part.repeat_interleave(q.shape[1] // part.shape[1], dim=1) for part in (k, v))
    causal = q.shape[2] > 1
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=module.scaling)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_honest_engines_pass(golden, stand_in, dtype):
    def attention(module, q, k, v):
        return sdpa(module, q.to(dtype), k.to(dtype), v.to(dtype)).to(q.dtype)

    assert failing(stand_in(attention), golden) == set()


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
def test_faulty_engines_fail_at_the_right_checks(golden, stand_in, fault, checks):
    engine = stand_in()
    fault(engine)
    found = failing(engine, golden)
    assert checks <= found
    if fault is cache_not_written:
        assert not found & DISTANCE


def test_an_engine_that_breaks_the_interface_is_named(golden, stand_in):
    engine = stand_in()
    plain = engine.prefill
    engine.prefill = lambda ids, trace=None: plain(ids, trace).bfloat16()
    with pytest.raises(ValueError, match="prefill must give float32 logits"):
        observe_coherence(engine, golden)
    engine.prefill = lambda ids, trace=None: plain(ids)
    with pytest.raises(ValueError, match="trace must give hidden of every layer, and q and k of all or none"):
        observe_coherence(engine, golden)


def test_an_engine_that_hides_its_q_is_not_judged_on_entropy(golden, stand_in):
    engine = stand_in()
    plain = engine._tell
    engine._tell = lambda layer, name, tensor: plain(layer, name, tensor) if name == "hidden" else None
    evidence = observe_coherence(engine, golden)
    assert evidence["entropy"] == {}
    statuses = {v.subject.split(": ")[1]: v.status for v in coherence.judge(evidence)}
    assert {check for check, status in statuses.items() if status != Status.PASS} == {"entropy"}
    assert statuses["entropy"] == Status.NOT_JUDGED
