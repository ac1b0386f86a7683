"""The numbers of one run on one document, which a golden stores for HF and evidence for an engine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOP = 64
DIGEST = 32
ROWS = 256


@dataclass(frozen=True)
class Readings:
    """One run on one document of T tokens, V words, L layers, A heads, S sampled and F fully kept positions.

    ``nll`` [T-1] nats of each token after the first; ``lse`` [T] log-sum-exp of the logits; ``top`` [T, 64] logits
    at the float32 run's best ids and ``tail`` [T] log-sum-exp of all others; ``argmax`` [T] the lowest best id;
    ``full`` [F, V] all logits; ``hidden`` [L, S, 32] projected residual stream and ``norm`` [L, S] its 2-norm;
    ``entropy`` [L, A, S] of attention, in nats, empty if the run shows no Q. Floats are float32, or the dtype of a
    run's own logits.
    """

    nll: Tensor
    lse: Tensor
    top: Tensor
    tail: Tensor
    argmax: Tensor
    full: Tensor
    hidden: Tensor
    norm: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class Samples:
    """Where a document is sampled: positions [S], those with full logits [F], and the projection [H, 32]."""

    positions: Tensor
    full: Tensor
    projection: Tensor


class Tracer:
    """Collects hidden states and attention entropy of one run at the sampled positions.

    Called as ``tracer(layer, name, tensor)`` with name "hidden" [T, H], "q" [T, Hq, D] or "k" [T, Hkv, D].
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._waiting: dict[int, dict[str, Tensor]] = {}
        self._hidden: dict[int, Tensor] = {}
        self._norm: dict[int, Tensor] = {}
        self._entropy: dict[int, Tensor] = {}

    def __call__(self, layer: int, name: str, tensor: Tensor) -> None:
        positions = self._samples.positions.to(tensor.device)
        if name == "hidden":
            picked = tensor[positions].float()
            self._hidden[layer] = (picked @ self._samples.projection.to(picked.device)).cpu()
            self._norm[layer] = picked.norm(dim=-1).cpu()
        elif name in ("q", "k"):
            # An engine may reuse its buffers, so keep a copy.
            kept = tensor[positions].float() if name == "q" else tensor.float().clone()
            pair = self._waiting.setdefault(layer, {})
            pair[name] = kept
            if len(pair) == 2:
                del self._waiting[layer]
                self.attention(layer, attention_weights(pair["q"], pair["k"], positions))

    def attention(self, layer: int, weights: Tensor) -> None:
        """Take the attention weights [A, S, T] of a layer."""
        self._entropy[layer] = entropy(weights).cpu()

    def stacked(self) -> dict[str, Tensor]:
        """``hidden``, ``norm`` and ``entropy`` of all layers; no entropy where Q stays inside a fused op.

        Raises ValueError if a layer was left out.
        """
        layers = set(range(len(self._hidden)))
        if not layers or set(self._hidden) != layers or set(self._entropy) not in (layers, set()):
            raise ValueError("the engine's trace must give hidden of every layer, and q and k of all or none")
        kinds = {"hidden": self._hidden, "norm": self._norm, "entropy": self._entropy}
        stacked = {name: torch.stack([rows[layer] for layer in sorted(rows)]) for name, rows in kinds.items() if rows}
        return {"entropy": torch.empty(0), **stacked}


def attention_weights(q: Tensor, k: Tensor, positions: Tensor) -> Tensor:
    """Causal GQA softmax in float32 of the sampled queries q [S, Hq, D] over all keys k [T, Hkv, D]: [Hq, S, T]."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = torch.einsum("shd,thd->hst", q, k) * q.shape[-1] ** -0.5
    later = torch.arange(k.shape[0], device=k.device) > positions[:, None]
    return scores.masked_fill(later, -torch.inf).softmax(dim=-1)


def entropy(weights: Tensor) -> Tensor:
    """Entropy in nats over the last axis, in float64 and renormalised since bfloat16 weights do not sum to 1."""
    weights = weights.double()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return torch.special.entr(weights).sum(dim=-1).float()


def best_ids(logits: Tensor) -> Tensor:
    """Ids [T, 64] of the best logits of [T, V], best first; V - 1 of them if V is 64 or less."""
    return logits.topk(min(TOP, logits.shape[-1] - 1), dim=-1).indices


def read_logits(logits: Tensor, ids: Tensor, top_ids: Tensor, full: Tensor) -> dict[str, Tensor]:
    """The part of Readings that follows from the logits [T, V], on the CPU; sums in float64, a few rows at a time."""
    parts: dict[str, list[Tensor]] = {"lse": [], "top": [], "tail": [], "argmax": [], "nll": []}
    # The last position has no next token; use any id, its NLL is cut off below.
    following = torch.cat([ids[1:], ids[:1]]).to(logits.device)
    top_ids = top_ids.to(logits.device).long()
    for start in range(0, logits.shape[0], ROWS):
        part = slice(start, start + ROWS)
        rows = logits[part].double()
        lse = rows.logsumexp(dim=-1)
        parts["lse"].append(lse.float())
        parts["nll"].append((lse - rows.gather(1, following[part, None])[:, 0]).float())
        parts["top"].append(logits[part].gather(1, top_ids[part]))
        parts["argmax"].append(first_argmax(logits[part]))
        parts["tail"].append(rows.scatter(1, top_ids[part], -torch.inf).logsumexp(dim=-1).float())
    whole = {name: torch.cat(rows).cpu() for name, rows in parts.items()}
    return whole | {"nll": whole["nll"][:-1], "full": logits[full.to(logits.device)].cpu()}


def margin(truth: Readings) -> Tensor:
    """The difference between the best two logits [T]."""
    return truth.top[:, 0] - truth.top[:, 1]


def noise(truth: Tensor, floor: Tensor) -> Tensor:
    """Largest error of bfloat16's logits [T, 64] among float32's best: [T]."""
    return (floor.float() - truth).abs().amax(dim=-1)


def first_argmax(logits: Tensor) -> Tensor:
    """The lowest id among the best [T], int32: for ties, which are common in bfloat16, torch does not promise this."""
    return (logits == logits.amax(dim=-1, keepdim=True)).int().argmax(dim=-1).int()
