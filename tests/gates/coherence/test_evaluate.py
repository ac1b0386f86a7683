"""The coherence gate on evidence made by hand: sound evidence passes, and each check fails on its own fault."""

import copy
import json
import math
import random

import pytest

from braidcheck.gates import coherence
from braidcheck.gates.coherence import distance, spread
from braidcheck.result import Status

DOCUMENTS, TOKENS = 10, 300


def floats(draw, count, mean):
    return [abs(draw.gauss(mean, mean / 2)) for _ in range(count)]


def sound():
    """Evidence of an engine about as far from HF float32 as HF bfloat16 is."""
    draw = random.Random(0)
    documents = []
    for _ in range(DOCUMENTS):
        truth = floats(draw, TOKENS - 1, 1.0)
        documents.append(
            {
                "tokens": TOKENS,
                "kl": floats(draw, TOKENS, 1e-3),
                "kl_floor": floats(draw, TOKENS, 1e-3),
                "nll": [value + draw.gauss(0, 0.01) for value in truth],
                "nll_truth": truth,
                "nll_floor": [value + draw.gauss(0, 0.01) for value in truth],
                "certainty": [10.0 if place % 10 else 0.5 for place in range(TOKENS)],
                "flips": [0, 10],
                "logit_error": floats(draw, 8, 0.1),
                "logit_error_floor": floats(draw, 8, 0.1),
            }
        )
    answer = [draw.randrange(1000) for _ in range(24)]
    heads = [[1.0, 2.0], [0.5, 0.1]]
    return {
        "format": 1,
        "model": "nano",
        "golden": "ab" * 32,
        "generator_perplexity": 2.7,
        "documents": documents,
        "hidden": {"engine": [0.004, 0.005], "floor": [0.004, 0.005]},
        "entropy": {
            "truth": heads,
            "engine": heads,
            "engine_error": [[0.01, 0.01], [0.01, 0.01]],
            "floor_error": [[0.01, 0.01], [0.01, 0.01]],
        },
        "probes": [["recall", 200, True, True, True] for _ in range(100)],
        "causality": [{"changed_from": 16, "differing": 0, "first": None, "later_changed": True}],
        "continuations": [
            {
                "document": 3,
                "prompt": 40,
                "truth": answer,
                "engine": list(answer),
                "prefill": list(answer),
                "certainty": [9.0] * 24,
                "own_certainty": [9.0] * 24,
            }
        ],
    }


def evaluated(evidence):
    return dict(zip(coherence.CHECKS, coherence.evaluate(evidence, lane="gpu"), strict=True))


def scale(name, factor, places=slice(None)):
    def fault(evidence):
        for row in evidence["documents"]:
            row[name][places] = [value * factor for value in row[name][places]]

    return fault


def shift_all(amount):
    def fault(evidence):
        for row in evidence["documents"]:
            row["nll"] = row["nll_floor"] = [value + amount for value in row["nll_truth"]]

    return fault


def shift(amount):
    def fault(evidence):
        for row in evidence["documents"]:
            row["nll"] = [value + amount for value in row["nll_truth"]]

    return fault


def put(value, *path):
    def fault(evidence):
        place = evidence
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return fault


def test_sound_evidence_passes_every_check_and_says_why():
    verdicts = coherence.evaluate(json.loads(json.dumps(sound(), allow_nan=False)), lane="gpu")
    assert [verdict.id for verdict in verdicts] == [f"gpu/coherence/nano: {name}" for name in coherence.CHECKS]
    assert {verdict.status for verdict in verdicts} == {Status.PASS}
    assert all(verdict.value <= verdict.limit for verdict in verdicts)
    assert evaluated(sound())["kl"].metrics["perplexity"]["generator"] == 2.7


@pytest.mark.parametrize(("factor", "status"), [(0.0, "error"), (5e-4, "error"), (1 / 64, "pass")])
def test_an_engine_that_is_its_own_golden_is_noticed(factor, status):
    evidence = sound()
    scale("kl", factor)(evidence)
    verdict = evaluated(evidence)["kl"]
    assert verdict.status == status
    assert ("record the golden from HF transformers" in verdict.message) == (status == "error")


@pytest.mark.parametrize(
    ("check", "fault", "words"),
    [
        ("kl", scale("kl", 2), "x HF bfloat16's own"),
        ("nll", shift(0.02), "NLL differs by +0.02 nats"),
        ("nll", shift(-0.02), "does it see later tokens?"),
        ("nll", shift_all(-0.02), "HF bfloat16's own differs by -0.02: this text's likelihood"),
        ("position", scale("kl", 2, slice(128, 300)), "worst at positions 128-511"),
        ("logits", scale("logit_error", 2), "over the whole vocabulary"),
        ("hidden", put(0.02, "hidden", "engine", 1), "departs first at layer 1"),
        ("flips", put([0, 17], "documents", 2, "flips"), "document 2 at token 17"),
        ("entropy", put(0.7, "entropy", "engine_error", 1, 0), "layer 1, head 0"),
        ("causality", put(3, "causality", 0, "differing"), "a token sees what comes after it"),
        ("causality", put(False, "causality", 0, "later_changed"), "is the text read?"),
        ("continuation", put(-1, "continuations", 0, "engine", 20), "from HF's answer at step 20 of document 3"),
        ("continuation", put([], "continuations", 0, "engine"), "diverges from HF's answer at step 0"),
        ("decode", put(-1, "continuations", 0, "prefill", 5), "at 1 of 24 steps where prefill is sure"),
        ("recall", put([["copy", 9, True, True, False]] * 3, "probes", slice(0, 3)), "97 of 100 probes"),
        ("repetition", put([1, 2, 3, 4] * 6, "continuations", 0, "engine"), "81% of the 4-grams"),
    ],
)
def test_each_check_fails_on_its_own_fault(check, fault, words):
    evidence = sound()
    fault(evidence)
    verdict = evaluated(evidence)[check]
    assert verdict.status == Status.FAIL
    assert words in verdict.message
    assert verdict.value > verdict.limit


def test_kl_names_the_layer_that_departs_first():
    evidence = sound()
    scale("kl", 40)(evidence)
    evidence["hidden"]["engine"] = [0.004, 0.4]
    assert "40" in evaluated(evidence)["kl"].message
    assert evaluated(evidence)["kl"].message.endswith("departs first at layer 1")


@pytest.mark.parametrize("key", [key for key in sound() if key not in ("model", "golden")])
def test_evidence_that_is_missing_never_passes(key):
    evidence = sound()
    del evidence[key]
    unsure = [verdict for verdict in evaluated(evidence).values() if verdict.status != Status.PASS]
    assert unsure
    assert all(verdict.status == Status.ERROR for verdict in unsure)


def test_empty_evidence_is_an_error_everywhere():
    assert {verdict.status for verdict in coherence.evaluate({})} == {Status.ERROR}


@pytest.mark.parametrize("name", ["kl", "nll", "logit_error", "certainty"])
def test_numbers_that_are_not_finite_fail(name):
    evidence = sound()
    evidence["documents"][4][name][7] = None
    failed = [verdict for verdict in evaluated(evidence).values() if verdict.status == Status.FAIL]
    assert failed
    assert all("in document 4 are NaN or infinite, first at 7" in verdict.message for verdict in failed)


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("kl", lambda evidence: evidence["documents"].__delitem__(slice(3, None))),
        ("flips", scale("certainty", 0.01)),
        ("causality", put([], "causality")),
        ("continuation", put([], "continuations")),
        ("decode", put([0.1] * 24, "continuations", 0, "own_certainty")),
        ("repetition", put([], "continuations")),
        ("recall", put([["copy", 9, False, False, True]] * 60, "probes", slice(0, 60))),
    ],
)
def test_too_little_to_tell_is_inconclusive(check, fault):
    evidence = sound()
    fault(evidence)
    assert evaluated(evidence)[check].status == Status.INCONCLUSIVE


def test_a_ratio_below_the_limit_with_a_bound_above_it_is_inconclusive():
    evidence = sound()
    # One document carries most of the distance: another draw of documents could be over.
    evidence["documents"][0]["kl"] = [value * 4.5 for value in evidence["documents"][0]["kl"]]
    assert evaluated(evidence)["kl"].status == Status.INCONCLUSIVE


def test_recall_without_probes_is_skipped():
    assert evaluated(sound() | {"probes": []})["recall"].status == Status.SKIPPED


def test_parting_from_hf_is_allowed_where_hf_is_unsure():
    evidence = sound()
    row = evidence["continuations"][0]
    row["engine"][20:], row["certainty"][20] = [1, 2, 3, 4], 0.3
    assert evaluated(evidence)["continuation"].status == Status.PASS


def test_the_verdict_can_be_had_again():
    assert coherence.evaluate(copy.deepcopy(sound())) == coherence.evaluate(sound())


def test_position_gives_the_difference_of_nll_by_stretch():
    def worse_far_out(evidence):
        for row in evidence["documents"]:
            row["nll"] = [value + (0.1 if place >= 128 else 0.0) for place, value in enumerate(row["nll_truth"])]

    evidence = sound()
    worse_far_out(evidence)
    metrics = evaluated(evidence)["position"].metrics
    near, far = metrics["0-127"], metrics["128-511"]
    assert near["nll"] == pytest.approx(0.0, abs=1e-12)
    assert (far["nll"], far["nll_low"], far["nll_high"]) == (pytest.approx(0.1),) * 3
    assert abs(far["nll_floor"]) < 0.01


def test_a_stretch_that_has_no_nll_still_has_its_kl():
    evidence = sound()
    for row in evidence["documents"]:
        for name in ("kl", "kl_floor"):
            row[name] = row[name][:129]
        for name in ("nll", "nll_truth", "nll_floor"):
            row[name] = row[name][:128]
        row["tokens"], row["certainty"] = 129, row["certainty"][:129]
    assert set(evaluated(evidence)["position"].metrics["128-511"]) == {"ratio", "upper"}


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("hidden", put(5, "hidden", "engine")),
        ("hidden", put([0.1, 0.2, 0.3], "hidden", "engine")),
        ("flips", put([999], "documents", 0, "flips")),
        ("recall", put([["copy"]], "probes")),
        ("continuation", put(3, "continuations", 0, "truth")),
        ("kl", put("text", "documents", 0, "kl")),
    ],
)
def test_evidence_that_cannot_be_read_is_an_error(check, fault):
    evidence = sound()
    fault(evidence)
    verdict = evaluated(evidence)[check]
    assert verdict.status == Status.ERROR
    assert verdict.message.startswith("the evidence cannot be read")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), None])
def test_every_number_that_is_not_finite_fails(number):
    evidence = sound()
    evidence["documents"][4]["kl"][7] = number
    assert evaluated(evidence)["kl"].status == Status.FAIL


@pytest.mark.parametrize("version", [0, 2, None])
def test_evidence_of_another_format_is_an_error(version):
    assert {verdict.status for verdict in evaluated(sound() | {"format": version}).values()} == {Status.ERROR}


def test_a_layer_in_the_middle_departs():
    evidence = sound()
    evidence["hidden"] = {"engine": [0.004, 0.02, 0.004], "floor": [0.004] * 3}
    verdict = evaluated(evidence)["hidden"]
    assert verdict.status == Status.FAIL
    assert "departs first at layer 1, 5x" in verdict.message


def test_a_kind_of_probe_that_is_lost_is_seen_among_others():
    evidence = sound()
    # Three of ten are lost; of all 400 that is below one in a hundred.
    evidence["probes"] = [["recall", 9, True, True, True]] * 390
    evidence["probes"] += [["copy", 9, True, True, number > 2] for number in range(10)]
    verdict = evaluated(evidence)["recall"]
    assert verdict.status == Status.FAIL
    assert "worst in copy: 7 of 10, HF 10" in verdict.message


def test_heads_over_their_limit_are_counted():
    evidence = sound()
    evidence["entropy"]["engine_error"] = [[0.7, 0.01], [0.01, 0.01]]
    assert evaluated(evidence)["entropy"].metrics == {"over": 1, "heads": 4}


def test_what_is_as_far_as_both_errors_reach_is_not_sure():
    evidence = sound()
    evidence["documents"][2]["flips"] = [0, 17]
    evidence["documents"][2]["certainty"][17] = 2.0
    assert evaluated(evidence)["flips"].status == Status.PASS
    evidence["documents"][2]["certainty"][17] = 2.001
    assert evaluated(evidence)["flips"].status == Status.FAIL


@pytest.mark.parametrize(("tokens", "status"), [(99, "inconclusive"), (100, "pass")])
def test_a_thousand_tokens_are_needed(tokens, status):
    evidence = sound()
    for row in evidence["documents"]:
        row["tokens"] = tokens
    verdicts = evaluated(evidence)
    assert {verdicts[name].status for name in ("kl", "nll")} == {status}


def test_stretches_without_enough_blocks_are_inconclusive(monkeypatch):
    monkeypatch.setattr("braidcheck.gates.coherence.distance.MIN_DOCUMENTS", 99)
    assert evaluated(sound())["position"].status == Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("ops", "layers", "repaired", "kl", "words"),
    [
        ([], [], False, None, "no op: it fails with all ops at their references too; look at weights"),
        (["a"], [], True, None, "a; with the reference there it passes"),
        (["a", "b"], [2, 2], False, None, "a and b in layer 2; with the reference there it still fails"),
        (["a"], [2, 4], True, 0.5, "a in layers 2-4; with the reference there KL is 0.5"),
        (["a"], [0, 4], False, 0.5, "a in layers 0-4; with the reference there KL is 0.5 and it still fails"),
    ],
)
def test_blame_is_said_in_words(ops, layers, repaired, kl, words):
    blame = {"ops": ops, "layers": layers, "repaired": repaired, "kl_repaired": kl}
    assert coherence.describe_blame(blame).startswith(words)
    assert coherence.describe_blame({}).startswith("unknown")


def test_repetition_is_the_share_of_four_grams_that_came_before():
    evidence = sound()
    verdict = evaluated(evidence)["repetition"]
    assert (verdict.value, verdict.metrics["hf"], verdict.limit) == (0.0, 0.0, 0.2)
    evidence["continuations"][0]["engine"] = [1, 2, 3, 4] * 6
    assert evaluated(evidence)["repetition"].value == pytest.approx(1 - 4 / 21)


def test_answers_that_part_are_counted():
    evidence = sound()
    assert evaluated(evidence)["continuation"].metrics == {"agreed": 24, "parted": 0, "steps": 24}
    row = evidence["continuations"][0]
    row["engine"][20:], row["certainty"][20] = [1, 2, 3, 4], 0.3
    verdict = evaluated(evidence)["continuation"]
    assert verdict.metrics == {"agreed": 20, "parted": 1, "steps": 24}
    assert verdict.message.endswith("; 1 answers diverge from HF's where HF bfloat16 could too")


def test_stretches_of_positions_follow_each_other():
    bins = distance.BINS
    assert [stop for _, stop in bins[:-1]] == [start for start, _ in bins[1:]]
    assert bins[0][0] == 0


@pytest.mark.parametrize(("engine", "floor"), [([1, 1, 1], [1, 1, 1]), ([1] * 4, [0] * 4)])
def test_a_ratio_of_too_few_or_to_nothing_is_inconclusive(engine, floor):
    with pytest.raises(coherence.InsufficientData) as caught:
        spread.Ratio.of(engine, floor)
    assert caught.value.finding.status == Status.INCONCLUSIVE


def test_entropy_of_an_engine_that_shows_no_q_is_skipped():
    verdict = evaluated(sound() | {"entropy": {}})["entropy"]
    assert verdict.status == Status.SKIPPED


def test_perplexity_is_that_of_the_mean_and_is_kept_finite():
    evidence = sound()
    truth = [value for row in evidence["documents"] for value in row["nll_truth"]]
    found = evaluated(evidence)["nll"].metrics["perplexity"]
    assert found["hf_float32"] == pytest.approx(math.exp(sum(truth) / len(truth)))
    shift(1e6)(evidence)
    assert evaluated(evidence)["nll"].metrics["perplexity"]["engine"] == pytest.approx(math.exp(700))
