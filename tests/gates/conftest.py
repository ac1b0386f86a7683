"""An engine made of HF transformers, honest or with one fault, and a golden small enough to try it on."""

import pytest
import torch


class StandIn:
    """HF's bfloat16 model of a checkpoint; ``attention(module, q, k, v)`` replaces its attention.

    q [1, Hq, S, D], k and v [1, Hkv, T, D]; ``prompt`` is the length of the prompt that is being continued.
    """

    def __init__(self, checkpoint, attention=None):
        from transformers import AttentionInterface, AutoModelForCausalLM

        self.attend = attention or self.eager
        self.trace = None
        self.prompt = 0
        # Each has its own name, for HF keeps one table of attentions for all models.
        name = f"stand_in_{id(self)}"
        AttentionInterface.register(name, self._attention)
        self.model = AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=torch.bfloat16, attn_implementation=name, use_kernels=False
        )
        for number, layer in enumerate(self.model.model.layers):
            layer.register_forward_hook(lambda _m, _i, output, number=number: self._tell(number, "hidden", output[0]))

    @staticmethod
    def eager(module, q, k, v, sees=0):
        """Causal GQA attention; with ``sees`` 1 a token sees the next one."""
        k, v = (part.repeat_interleave(q.shape[1] // part.shape[1], dim=1) for part in (k, v))
        scores = (q @ k.transpose(2, 3) * module.scaling).float()
        queries, keys = scores.shape[-2:]
        allowed = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries + sees)
        return scores.masked_fill(~allowed, -torch.inf).softmax(-1).to(v.dtype) @ v

    def _tell(self, layer, name, tensor):
        if self.trace:
            self.trace(layer, name, tensor)

    def _attention(self, module, q, k, v, _mask, **_rest):
        self._tell(module.layer_idx, "q", q[0].transpose(0, 1))
        self._tell(module.layer_idx, "k", k[0].transpose(0, 1))
        return self.attend(module, q, k, v).transpose(1, 2).contiguous(), None

    def forward_logits(self, ids, trace=None):
        """Logits [T, V] float32."""
        self.trace = trace
        with torch.inference_mode():
            logits = self.model(ids[None], use_cache=False).logits[0].float()
        self.trace = None
        return logits

    def generate(self, ids, max_new_tokens):
        """Greedy tokens with HF's own cache."""
        self.prompt = len(ids)
        with torch.inference_mode():
            prompt = ids[None]
            out = self.model.generate(
                prompt, do_sample=False, max_new_tokens=max_new_tokens, attention_mask=torch.ones_like(prompt)
            )
        return out[0, len(ids) :].tolist()


@pytest.fixture(scope="session")
def assert_tiny(hf_logits, assert_rounded):
    """``assert_tiny(logits, model, ids)``: float32 logits are HF's of the probes' tiny model for ids [T]."""
    from transformers import Qwen3ForCausalLM

    def check(logits, model, ids):
        hf = Qwen3ForCausalLM.from_pretrained(model.directory, dtype=torch.float32, attn_implementation="eager").eval()
        # The output projection's sums are the longest.
        assert_rounded(logits, *hf_logits(hf, ids), model.sizes["num_attention_heads"] * model.sizes["head_dim"])

    return check


@pytest.fixture(scope="session")
def golden(tmp_path_factory):
    """HF on 12 brief documents of the corpus."""
    from braidcheck.golden import corpus, texts
    from braidcheck.golden.record import record
    from braidcheck.golden.resolve import NANO

    rows = corpus.load("heldout", 14).select(range(2, 14))
    text = texts.Text(rows, "12 brief documents", corpus.fingerprint(rows), running=False)
    return record(NANO, text, tmp_path_factory.mktemp("golden") / "brief", device="cpu", model_id="nano")


@pytest.fixture(scope="session")
def stand_in():
    """Makes a StandIn of nano."""
    from braidcheck.golden.resolve import NANO

    return lambda attention=None: StandIn(NANO, attention)
