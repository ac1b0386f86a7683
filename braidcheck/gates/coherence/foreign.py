"""Evidence for the coherence gate from a user's engine, as far as its methods provide it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from braidcheck.engines.client import Client, Prefilled, Top, tokens_of
from braidcheck.engines.process import EngineError
from braidcheck.gates.coherence.evidence import Causality, Column, Continuation, Document, Evidence, Hidden
from braidcheck.gates.coherence.evidence import Probe as ProbeRow
from braidcheck.gates.coherence.measure import CAUSAL_CHANGES, CAUSAL_LENGTH, FORMAT, metrics, spread
from braidcheck.gates.surfaces.truth import Text, divergences, texts_of
from braidcheck.golden.readings import margin
from braidcheck.golden.store import GoldenDocument
from braidcheck.golden.subset import shortest

OF_DOCUMENTS = ("kl", "nll", "position", "logits", "flips", "recall")
OF_ANSWERS = ("continuation", "decode", "repetition")
NO_LOGITS = "the engine gives no logits (it has no prefill)"
NO_STATES = "the engine gives no hidden states"
TOP_ONLY = "the engine gives only its best log-probabilities"


def measure_foreign(
    client: Client, engine: str, golden: Any, say: Callable[[str], None] = lambda text: None
) -> Evidence:  # fmt: skip
    """The evidence that the engine can provide; ``lacks`` and ``broken`` say why other checks cannot run."""
    lacks = {"entropy": "the engine gives no Q and K"}
    broken: dict[str, str] = {}
    evidence: Evidence = {
        "format": FORMAT,
        "model": f"{engine} on {golden.model}",
        "golden": golden.manifest["golden"]["sha256"],
        "generator_perplexity": golden.manifest["perplexity"]["generator"],
        "foreign": True,
        "lacks": lacks,
        "broken": broken,
    }

    def part(names: tuple[str, ...], measure: Callable[[], Any]) -> Any:
        try:
            return measure()
        except EngineError as how:
            broken.update(dict.fromkeys(names, f"the engine {how}"))
            return None

    if "prefill" in client.methods:
        if (documents := part(OF_DOCUMENTS, lambda: _documents(client, golden, say))) is not None:
            evidence["documents"], evidence["probes"] = documents
            if not any(row["logit_error"] for row in evidence["documents"]):
                lacks["logits"] = TOP_ONLY
        if (rows := part(("causality",), lambda: _causality(client, golden))) is not None:
            evidence["causality"] = rows
    else:
        lacks.update(dict.fromkeys((*OF_DOCUMENTS, "causality", "decode"), NO_LOGITS))
    if "generate" in client.methods:
        if (answers := part(OF_ANSWERS, lambda: _continuations(client, golden, say))) is not None:
            evidence["continuations"] = answers
    else:
        lacks.update(dict.fromkeys(OF_ANSWERS, "the engine gives no greedy answers (it has no generate)"))
    if "hidden_states" in client.methods:
        if (hidden := part(("hidden",), lambda: _hidden(client, golden, say))) is not None:
            evidence["hidden"] = hidden
    else:
        lacks["hidden"] = NO_STATES
    return evidence


def _documents(client: Client, golden: Any, say: Callable[[str], None]) -> tuple[list[Document], list[ProbeRow]]:
    documents, probes = [], []
    texts = {text.number: text for text in texts_of(golden, ())}
    for number in range(len(golden)):
        say(f"coherence: document {number + 1} of {len(golden)}")
        document, text = golden.document(number), texts[number]
        got = client.prefill(document.ids.tolist())
        documents.append(_document(document, text, got))
        best = torch.tensor(list(tokens_of(got)))
        for probe in (probe for probe in golden.probes() if probe.document == number):
            answer, before = document.ids[probe.first : probe.last], slice(probe.first - 1, probe.last - 1)
            runs = (document.truth.argmax, document.floor.argmax, best)
            truth, floor, engine = (torch.equal(run[before].long(), answer) for run in runs)
            probes.append((probe.kind, probe.distance, truth, floor, engine))
    return documents, probes


def _document(document: GoldenDocument, text: Text, got: Prefilled) -> Document:
    """The columns of one document; from a Top only the rows and tokens that it has."""
    truth, floor = document.truth, document.floor
    engine, noise = divergences(text, 0, got)
    present = ~noise.isnan()
    nll = _nll(got, document.ids)
    named = present[:-1] if isinstance(got, Tensor) else ~nll.isnan()
    best = torch.tensor(list(tokens_of(got)))
    full = document.samples.full
    errors: tuple[Column, Column] = ([], [])
    if isinstance(got, Tensor):
        errors = metrics(spread(got[full] - truth.full)), metrics(spread(floor.full.float() - truth.full))
    return {
        "tokens": int(present.sum()),
        "kl": metrics(engine[present]),
        "kl_floor": metrics(noise[present]),
        "nll": metrics(nll[named]),
        "nll_truth": metrics(truth.nll[named]),
        "nll_floor": metrics(floor.nll[named]),
        "certainty": metrics((margin(truth) / text.noise)[present]),
        "flips": (best[present] != truth.argmax[present]).nonzero()[:, 0].tolist(),
        "logit_error": errors[0],
        "logit_error_floor": errors[1],
    }


def _nll(got: Prefilled, ids: Tensor) -> Tensor:
    """Nats [T-1] of each token after the first; NaN if a server did not return the token."""
    following = ids[1:, None]
    if isinstance(got, Tensor):
        values = got[:-1].double()
        return values.logsumexp(dim=-1) - values.gather(1, following)[:, 0]
    named = got.ids[:-1] == following
    values = torch.where(named, got.logprobs[:-1].double(), 0.0).sum(dim=-1)
    return torch.where(named.any(dim=-1), -values, torch.nan)


def _causality(client: Client, golden: Any) -> list[Causality]:
    """As for braidcheck's engine, but bits may differ: a position differs if KL exceeds what HF bfloat16's noise
    allows."""
    text = texts_of(golden, ())[-1]
    ids = text.ids[:CAUSAL_LENGTH].tolist()
    before = client.prefill(ids)
    causality_runs: list[Causality] = []
    for place in (place for place in CAUSAL_CHANGES if place < len(ids)):
        changed = [*ids[:place], *((id + 1) % client.vocab for id in ids[place:])]
        after = client.prefill(changed)
        if isinstance(before, Top) or isinstance(after, Top):
            apart = divergences(text, 0, after)[0].nan_to_num(0.0)  # from HF: two short lists have little in common
        else:
            pair = [logits.double().log_softmax(dim=-1) for logits in (before, after)]
            apart = (pair[0].exp() * (pair[0] - pair[1])).sum(dim=-1)
        differs = (~(apart <= text.kl_limit[: len(ids)]))[:place].nonzero()[:, 0]
        first = int(differs[0]) if len(differs) else None
        later = list(tokens_of(after))[place:] != list(tokens_of(before))[place:]
        causality_runs.append(
            {"changed_from": place, "differing": len(differs), "first": first, "later_changed": later}
        )
    return causality_runs


def _continuations(client: Client, golden: Any, say: Callable[[str], None]) -> list[Continuation]:
    continuations = []
    for number, recorded in enumerate(golden.continuations()):
        say(f"coherence: greedy answer {number + 1}")
        prompt = golden.document(recorded.document).ids[: recorded.prompt].tolist()
        answer = client.generate(prompt, len(recorded.ids))
        prefill, certainty = _own(client, prompt, answer, golden.typical_noise)
        row: Continuation = {
            "document": recorded.document,
            "prompt": recorded.prompt,
            "truth": list(recorded.ids),
            "engine": answer,
            "prefill": prefill,
            "certainty": metrics(recorded.margin / recorded.noise.clamp_min(golden.typical_noise)),
            "own_certainty": certainty,
        }
        continuations.append(row)
    return continuations


def _own(client: Client, prompt: list[int], answer: list[int], typical: float) -> tuple[list[int], Column]:
    """The choice of the engine's prefill at each step of an answer, and how sure it is; unsure without logits."""
    if "prefill" not in client.methods or not answer:
        return list(answer), [0.0] * len(answer)
    rows = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
    got = client.prefill([*prompt, *answer], rows)
    if isinstance(got, Top):
        got = Top(got.ids[rows.start : rows.stop], got.logprobs[rows.start : rows.stop])
        values = got.logprobs.masked_fill(got.ids < 0, -torch.inf)
    else:
        values = got
    if values.shape[-1] < 2:
        return list(tokens_of(got)), [0.0] * len(answer)
    best = values.topk(2, dim=-1).values
    return list(tokens_of(got)), metrics(((best[:, 0] - best[:, 1]) / typical).nan_to_num(0.0, posinf=1e6))


def _hidden(client: Client, golden: Any, say: Callable[[str], None]) -> Hidden:
    """Errors by layer, for the layers that the engine gives, on the golden's shorter documents, half of its tokens."""
    errors: tuple[list[list[Tensor]], list[list[Tensor]]] = ([], [])
    documents = shortest(golden, golden.manifest["tokens"] // 2, 0, 0)
    for number in range(len(documents)):
        say(f"coherence: hidden states of document {number + 1} of {len(documents)}")
        document = documents.document(number)
        states = client.hidden_states(document.ids.tolist(), document.samples.positions.tolist())[1:]
        layers = len(document.truth.norm)
        if len(states) != layers:
            raise EngineError(f"gave {len(states)} hidden states after layers, the model has {layers} layers")
        present = states[: next((index for index, state in enumerate(states) if state is None), layers)]
        width = len(document.samples.projection)
        if any(state is not None and state.shape[-1] != width for state in present):
            raise EngineError(f"gave hidden states of another width than {width}")
        digests = [state @ document.samples.projection for state in present if state is not None]
        truth, norm = document.truth.hidden, document.truth.norm
        errors[0].append([(d - truth[index]).norm(dim=-1) / norm[index] for index, d in enumerate(digests)])
        errors[1].append(
            [(document.floor.hidden[index] - truth[index]).norm(dim=-1) / norm[index] for index in range(len(present))]
        )
    engine, floor = ([torch.cat(layer).pow(2).mean().sqrt() for layer in zip(*rows, strict=True)] for rows in errors)
    if not engine:
        raise EngineError("gave no hidden state after any layer")
    return {"engine": metrics(torch.stack(engine)), "floor": metrics(torch.stack(floor))}
