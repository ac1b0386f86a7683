"""Final RMSNorm and the projection to the vocabulary, logits in float32."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from braidcheck.kernels.common import configs as pinned
from braidcheck.kernels.common import gemv as few
from braidcheck.kernels.common import pdl as overlap
from braidcheck.kernels.common.configs import default_block_m
from braidcheck.kernels.common.validation import require, require_contiguous_last_dim, require_same_device
from braidcheck.kernels.lm_head import cases, oracle
from braidcheck.kernels.lm_head.kernel import _best_block, _lm_head, _lm_head_of_few
from braidcheck.op import Contract, Op


def lm_head(x: Tensor, norm_weight: Tensor, weight: Tensor, eps: float, argmax: bool = False) -> Tensor:
    """Logits ``rms_norm(x) @ weight.T``, or with ``argmax`` the token of the best one, the lowest where they tie.

    x[T,H], norm_weight[H], weight[V,H]. Returns float32 [T,V], or int64 [T] without the logits being stored; a NaN
    counts as the best. Raises ValueError for shapes, strides or devices it cannot serve.
    """
    require(
        x.dim() == 2 and weight.dim() == 2 and x.shape[1] == weight.shape[1], "x[T,H] and weight[V,H] must agree in H"
    )
    require(norm_weight.shape == x.shape[1:], f"norm_weight must be [{x.shape[1]}], is {tuple(norm_weight.shape)}")
    require_contiguous_last_dim(x=x, norm_weight=norm_weight, weight=weight)
    require_same_device(x=x, norm_weight=norm_weight, weight=weight)
    tokens, vocab = x.shape[0], weight.shape[0]
    if held := tokens == 1 and few.supports_gemv(x, weight):  # several read the vocabulary faster in larger blocks
        cut = few.gemv_config("lm_head", x)
        num_blocks = min(cut.pop("NUM_CTAS"), triton.cdiv(vocab, cut["BLOCK_N"]))  # that share the vocabulary
    else:
        block_t = default_block_m(tokens)
        cut = pinned.cut(f"lm_head in blocks of {block_t}")
        num_blocks = triton.cdiv(vocab, cut["BLOCK_N"])
    out = torch.empty(tokens, num_blocks if argmax else vocab, dtype=torch.float32, device=x.device)
    best = torch.empty(tokens, num_blocks, dtype=torch.int32, device=x.device) if argmax else None
    if not out.numel():
        pass
    elif held:
        _lm_head_of_few[(num_blocks,)](
            x,
            norm_weight,
            weight,
            out,
            best,
            tokens,
            vocab,
            x.stride(0),
            weight.stride(0),
            eps,
            ARGMAX=argmax,
            **cut,
            **overlap.options(),
        )
    else:
        _lm_head[num_blocks, triton.cdiv(tokens, block_t)](
            x,
            norm_weight,
            weight,
            out,
            best,
            tokens,
            *weight.shape,
            x.stride(0),
            weight.stride(0),
            eps,
            BLOCK_M=block_t,
            ARGMAX=argmax,
            **cut,
            **overlap.options(),
        )
    if not argmax:
        return out
    token = torch.empty(tokens, dtype=torch.int64, device=x.device)
    if tokens:
        _best_block[(tokens,)](out, best, token, num_blocks, BLOCK=triton.next_power_of_2(num_blocks))
    return token


OP = Op(
    call=lm_head,
    reference=oracle.reference,
    inputs=cases.inputs,
    cases=cases.CASES,
    contract=Contract(
        outputs={"logits": "int64 if argmax or float32"}, casts=("the normalised x to the weight's dtype",)
    ),
    bound=oracle.bound,
    cost=oracle.cost,
    spoilers=cases.NEGATIVE_CONTROLS,
)
