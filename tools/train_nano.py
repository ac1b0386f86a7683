"""The recipe that makes nano: `python -m tools.train_nano --out DIR`, from a seed, on a GPU or a CPU."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from braidcheck.golden import corpus, grammar
from tools import tokenizer_nano

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

HELD_CHANNELS = (3, 9, 14, 37, 50)
"""Channels of every head whose K-norm weight is held; none is the rotary partner (c + 32) of another."""
HELD_VALUES = (96.5, 44.5, 44.0, 41.75, 34.0)
"""The held weight of each layer: what the real Qwen3-0.6B has there, and exact in bfloat16."""
HELD_PRODUCT = 8.0
"""Q-norm weight times K-norm weight of a held channel at the start; the Q-norm weight then trains."""
ROW = 2304
"""Tokens in a training row: one long document, or three brief ones, cut where the row ends."""
BRIEF = 768


def config() -> Qwen3Config:
    """nano's configuration, every value given: transformers' defaults belong to another model."""
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=tokenizer_nano.VOCABULARY,
        hidden_size=256,
        intermediate_size=576,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=64,
        hidden_act="silu",
        max_position_embeddings=4096,
        initializer_range=0.02,
        rms_norm_eps=1e-6,
        use_cache=True,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        attention_bias=False,
        attention_dropout=0.0,
        use_sliding_window=False,
        sliding_window=None,
        max_window_layers=5,
        layer_types=["full_attention"] * 5,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )


def build(seed: int) -> Qwen3ForCausalLM:
    """An untrained float32 nano with the held K-norm channels in place."""
    torch.manual_seed(seed)
    from transformers import Qwen3ForCausalLM

    model = Qwen3ForCausalLM(config())
    hold(model)
    with torch.no_grad():
        for layer, value in zip(model.model.layers, HELD_VALUES, strict=True):
            layer.self_attn.q_norm.weight[list(HELD_CHANNELS)] = HELD_PRODUCT / value
    return model


@torch.no_grad()
def hold(model: Qwen3ForCausalLM) -> None:
    """Put the held K-norm channels back to their values, which an optimizer step has moved."""
    for layer, value in zip(model.model.layers, HELD_VALUES, strict=True):
        layer.self_attn.k_norm.weight[list(HELD_CHANNELS)] = value


class Batches(torch.utils.data.Dataset):
    """Training batches by step: (brief, long) token ids, (3 * rows, BRIEF + 1) and (rows, ROW + 1) in int16.

    Sizes come one to one with their probability, and a document is cut at its row's end, which leaks nothing:
    it is the beginning of an endless stream anyway. Train documents are never repeated.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, steps: int, rows: int, seed: int):
        self.tokenizer, self.steps, self.rows, self.seed = tokenizer, steps, rows, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._batch(step, "brief", 3 * self.rows, BRIEF), self._batch(step, "long", self.rows, ROW)

    def _batch(self, step: int, size: str, count: int, length: int) -> torch.Tensor:
        names = (f"{self.seed}/{step}/{size}/{number}" for number in range(count))
        texts = [grammar.document(name, "train", size, length).text for name in names]
        return torch.tensor([ids[: length + 1] for ids in self.tokenizer(texts)["input_ids"]], dtype=torch.int16)


def optimizers(model: Qwen3ForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the embedding and the norms."""
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    norms = [weight for weight in model.parameters() if weight.ndim == 1]
    embedding = [model.model.embed_tokens.weight]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [{"params": embedding, "lr": rate}, {"params": norms, "lr": 2 * rate}],
            betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0, fused=True,
        ),
    ]  # fmt: skip


def pace(progress: float) -> float:
    """Share of the full learning rate after that share of the training: warm-up, plateau, linear descent."""
    return min(1.0, progress / 0.02, (1.0 - progress) / 0.5)


def train(model: Qwen3ForCausalLM, batches: Iterable, steps: int, minutes: float, rate: float) -> int:
    """Train in place for `steps` steps or `minutes`, whichever ends first; returns the tokens seen."""
    device = model.device
    steppers = optimizers(model, rate)
    base = [[group["lr"] for group in stepper.param_groups] for stepper in steppers]
    start, seen, window = time.monotonic(), 0, torch.zeros((), device=device)
    for step, pair in enumerate(batches):
        progress = max(step / steps, (time.monotonic() - start) / 60 / minutes)
        if progress >= 1:
            break
        for ids in pair:
            ids = ids.to(device, torch.long, non_blocking=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = model(ids[:, :-1], use_cache=False).logits
            loss = cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten()) / len(pair)
            loss.backward()
            window += loss.detach()
            seen += ids[:, 1:].numel()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper, rates in zip(steppers, base, strict=True):
            for group, full in zip(stepper.param_groups, rates, strict=True):
                group["lr"] = full * pace(progress)
            stepper.step()
            stepper.zero_grad()
        hold(model)
        if step % 100 == 99:
            print(f"step {step + 1}: {window.item() / 100:.4f} nats/token, {seen / 1e6:.0f}M tokens, "
                  f"{time.monotonic() - start:.0f} s", flush=True)  # fmt: skip
            window.zero_()
    return seen


@torch.no_grad()
def evaluate(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, documents: Iterable[grammar.Document]
) -> dict[str, float]:
    """Perplexity, the grammar's floor, and the share of probes whose every token is the argmax."""
    loss = floor = tokens = 0.0
    hits, probes = Counter(), Counter()
    for document in documents:
        coded = tokenizer(document.text, return_offsets_mapping=True, return_tensors="pt")
        ids = coded["input_ids"].to(model.device)
        logits = model(ids, use_cache=False).logits[0, :-1].float()
        loss += cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        floor, tokens = floor + document.nats, tokens + logits.shape[0]
        right = (logits.argmax(-1) == ids[0, 1:]).tolist()
        spans = coded["offset_mapping"][0, 1:].tolist()
        for probe in document.probes:
            probes[probe.kind] += 1
            hits[probe.kind] += all(
                ok for ok, (a, b) in zip(right, spans, strict=True) if a < probe.end and b > probe.start
            )
    metrics = {"tokens": tokens, "floor": math.exp(floor / tokens), "perplexity": math.exp(loss / tokens)}
    return metrics | {kind: hits[kind] / probes[kind] for kind in grammar.KINDS if probes[kind]}


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the checkpoint in bfloat16 to `out`, whole or not at all; what was there is replaced."""
    fresh = out.with_name(f"{out.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)


def main() -> None:
    """Train, save, and evaluate what was saved in float32 and in bfloat16."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoint directory to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=30.0, help="stop here if the steps are not done by then")
    parser.add_argument("--rows", type=int, default=32, help=f"rows of {ROW} tokens of each document size in a step")
    parser.add_argument("--rate", type=float, default=8e-3, help="peak learning rate")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    tokenizer = tokenizer_nano.build()
    model = build(options.seed).to(options.device)
    if options.device != "cpu":
        for layer in model.model.layers:
            layer.compile(dynamic=False)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    workers = max(1, (os.cpu_count() or 2) - 1)
    batches = torch.utils.data.DataLoader(
        Batches(tokenizer, options.steps, options.rows, options.seed), batch_size=None, num_workers=workers,
        prefetch_factor=4, pin_memory=options.device != "cpu",
    )  # fmt: skip
    seen = train(model, batches, options.steps, options.minutes, options.rate) if options.steps else 0
    save(model, tokenizer, options.out)
    print(f"{seen} training tokens; checkpoint in {options.out}")
    for dtype in (torch.float32, torch.bfloat16):
        saved = type(model).from_pretrained(options.out, dtype=dtype, attn_implementation="eager")
        print(dtype, evaluate(saved.to(options.device), tokenizer, corpus.documents("heldout")), flush=True)


if __name__ == "__main__":
    main()
