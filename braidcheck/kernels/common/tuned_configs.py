"""Launch configs of all kernels, by GPU class: tuned ahead of time, since a search inside a gate would evaluate noise.

Found by ``nox -s tune`` (``tools/tune.py``); docs/decode-log.md and docs/prefill-log.md say what was tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from braidcheck.arch import INTERPRETER
from braidcheck.kernels.common.kernel_config import (
    ANY,
    GEMV,
    LARGE,
    MEDIUM,
    PERSISTENT,
    SMALL,
    SMALL_M,
    SPLIT_K,
    TILED,
    TINY,
    Configs,
    KernelConfig,
    SizeBucket,
)

_SPLIT_KV = KernelConfig(block_n=64, min_keys_per_split=256, max_splits=32, combine_block=8, num_warps=4, num_stages=2)
DEFAULT_CONFIGS: Configs = {  # any GPU: no spills at any width that is served
    ("rms_norm", TILED, ANY): KernelConfig(block_m=1),
    ("qk_norm_rope", TILED, ANY): KernelConfig(block_m=4),
    ("cache_write", TILED, ANY): KernelConfig(block_m=1),
    ("sample", TILED, ANY): KernelConfig(block_m=1, block_n=2048),
    ("rms_norm_qkv", GEMV, ANY): KernelConfig(block_n=4, num_warps=4),
    ("rms_norm_qkv", SMALL_M, ANY): KernelConfig(block_n=16, num_slices=8),
    ("rms_norm_qkv", TILED, SMALL): KernelConfig(block_n=32, block_k=128),
    ("rms_norm_qkv", TILED, LARGE): KernelConfig(block_n=32, block_k=128),
    ("linear_residual", GEMV, ANY): KernelConfig(block_n=4, num_warps=4),
    ("linear_residual", SMALL_M, ANY): KernelConfig(block_n=16, num_slices=8),
    ("linear_residual", TILED, SMALL): KernelConfig(block_n=16, block_k=256, num_warps=2),
    ("linear_residual", TILED, LARGE): KernelConfig(block_n=32, block_k=128, num_warps=8),  # with 4 warps sm_80 spills
    ("gate_up_silu", GEMV, ANY): KernelConfig(block_n=2, num_warps=4),
    ("gate_up_silu", SMALL_M, ANY): KernelConfig(block_n=16, num_slices=8),
    ("gate_up_silu", TILED, SMALL): KernelConfig(block_n=32, block_k=128),
    ("gate_up_silu", TILED, LARGE): KernelConfig(block_n=32, block_k=128),
    ("lm_head", GEMV, ANY): KernelConfig(block_n=8, num_ctas=512, num_warps=4),
    ("lm_head", TILED, SMALL): KernelConfig(block_n=64, block_k=128),
    ("lm_head", TILED, LARGE): KernelConfig(block_n=64, block_k=128),
    ("qkv_rope", TILED, ANY): KernelConfig(block_k=64),
    ("fused_attention", TILED, ANY): KernelConfig(block_n=32, block_k=64, attention_block_n=64),
    ("attention_decode", TILED, ANY): KernelConfig(block_n=64, max_splits=64),
    ("attention_prefill", SMALL_M, ANY): KernelConfig(block_m=16, block_n=64, num_warps=4),
    ("attention_prefill", TILED, ANY): KernelConfig(block_m=64, block_n=64, num_warps=4),
    ("attention_prefill", TILED, LARGE): KernelConfig(block_m=64, block_n=64, num_warps=4),
    ("decode_attention", GEMV, ANY): replace(_SPLIT_KV, min_keys_per_split=64),
    ("decode_attention", SMALL_M, ANY): _SPLIT_KV,
    ("decode_attention", SMALL_M, LARGE): _SPLIT_KV,
}
# Persistent grids of one CTA a multiprocessor, and of two.
_ONE_CTA = KernelConfig(block_m=128, block_k=64, ctas_per_sm=1, num_warps=8, num_stages=3)
_TWO_CTAS = KernelConfig(block_m=64, block_k=64, ctas_per_sm=2, num_warps=4, num_stages=4)
_FOUR_SPLITS = KernelConfig(block_m=64, block_n=32, block_k=128, num_splits=4, num_warps=4)
SM_90_CONFIGS: Configs = {  # an H200, 2026-11-21; PERSISTENT an H100, 2026-11-27
    **DEFAULT_CONFIGS,
    ("rms_norm", PERSISTENT, ANY): KernelConfig(block_m=4),  # the operand of a persistent GEMM
    ("rms_norm_qkv", GEMV, ANY): KernelConfig(block_n=4, num_warps=1),
    ("rms_norm_qkv", SMALL_M, ANY): KernelConfig(block_n=64, num_slices=8),
    ("rms_norm_qkv", TILED, SMALL): KernelConfig(block_n=32, block_k=256),
    ("rms_norm_qkv", PERSISTENT, TINY): replace(_TWO_CTAS, block_n=64, block_k=128, num_stages=5, prefetch_k=128),
    ("rms_norm_qkv", PERSISTENT, SMALL): replace(_TWO_CTAS, block_m=128, block_n=64, block_k=128, prefetch_k=256),
    ("rms_norm_qkv", PERSISTENT, MEDIUM): replace(_ONE_CTA, block_n=128, num_stages=4, prefetch_k=128),
    ("rms_norm_qkv", PERSISTENT, LARGE): replace(_ONE_CTA, block_n=256, prefetch_k=256),
    **{("qkv_rope", PERSISTENT, size): replace(_TWO_CTAS, heads_per_tile=1, num_stages=6) for size in (TINY, SMALL)},
    ("qkv_rope", PERSISTENT, MEDIUM): replace(_ONE_CTA, heads_per_tile=1, num_stages=5),
    ("qkv_rope", PERSISTENT, LARGE): replace(_ONE_CTA, heads_per_tile=2, num_stages=4),
    ("linear_residual", GEMV, ANY): KernelConfig(block_n=2, num_warps=8),
    ("linear_residual", SMALL_M, ANY): KernelConfig(block_n=32, num_slices=8),
    ("linear_residual", TILED, SMALL): KernelConfig(block_n=16, block_k=512, num_warps=2, num_stages=4),
    ("linear_residual", SPLIT_K, ANY): KernelConfig(block_n=256, num_warps=4),  # the sum of the parts
    ("linear_residual", SPLIT_K, SMALL): replace(_FOUR_SPLITS, num_stages=5),
    ("linear_residual", SPLIT_K, MEDIUM): replace(_FOUR_SPLITS, num_stages=4),  # two programs a multiprocessor
    ("linear_residual", SPLIT_K, LARGE): replace(_FOUR_SPLITS, block_m=128, block_n=64, block_k=64, num_stages=5),
    **{
        ("linear_residual", PERSISTENT, size): replace(_TWO_CTAS, block_n=64, block_k=128, num_stages=5)
        for size in (TINY, SMALL, MEDIUM)
    },
    ("linear_residual", PERSISTENT, LARGE): replace(_ONE_CTA, block_n=256),
    ("gate_up_silu", GEMV, ANY): KernelConfig(block_n=2, num_warps=1),
    ("gate_up_silu", SMALL_M, ANY): KernelConfig(block_n=32, num_slices=8),
    **{
        ("gate_up_silu", PERSISTENT, size): replace(_TWO_CTAS, block_n=32, block_k=128, num_stages=3, prefetch_k=256)
        for size in (TINY, SMALL)
    },
    **{("gate_up_silu", PERSISTENT, size): replace(_ONE_CTA, block_n=128, prefetch_k=0) for size in (MEDIUM, LARGE)},
    ("lm_head", GEMV, ANY): KernelConfig(block_n=8, num_ctas=1056, num_warps=8),
    ("lm_head", SMALL_M, ANY): KernelConfig(block_n=32, num_ctas=132, num_slices=8),
    ("lm_head", TILED, SMALL): KernelConfig(block_n=256, block_k=64, num_warps=8, num_stages=4),
    ("lm_head", TILED, LARGE): KernelConfig(block_n=128, block_k=64, num_warps=4, num_stages=4),
    ("attention_prefill", TILED, ANY): KernelConfig(block_m=64, block_n=64, num_warps=4, num_stages=3),
    ("attention_prefill", TILED, LARGE): KernelConfig(block_m=128, block_n=128, num_warps=8, num_stages=3),
    ("decode_attention", GEMV, ANY): replace(
        _SPLIT_KV, min_keys_per_split=64, max_splits=64, combine_block=32, num_warps=2
    ),
    ("decode_attention", SMALL_M, ANY): replace(
        _SPLIT_KV, block_n=16, min_keys_per_split=128, num_warps=1, num_stages=3
    ),
    ("decode_attention", SMALL_M, LARGE): replace(
        _SPLIT_KV, block_n=128, max_splits=16, combine_block=16, num_stages=3
    ),
}
_FEW_CTAS = KernelConfig(block_m=64, block_n=128, block_k=128, ctas_per_sm=1)
_FEW_SPLITS = KernelConfig(block_n=64, min_keys_per_split=128, max_splits=4, combine_block=2)
INTERPRETER_CONFIGS: Configs = {
    ("rms_norm", TILED, ANY): KernelConfig(block_m=64),
    ("rms_norm", PERSISTENT, ANY): KernelConfig(block_m=64),
    ("qk_norm_rope", TILED, ANY): KernelConfig(block_m=256),
    ("cache_write", TILED, ANY): KernelConfig(block_m=256),
    ("sample", TILED, ANY): KernelConfig(block_m=16, block_n=1024),
    **{(op, GEMV, ANY): KernelConfig(block_n=256) for op in ("rms_norm_qkv", "linear_residual", "gate_up_silu")},
    **{
        (op, SMALL_M, ANY): KernelConfig(block_n=256, num_slices=4)
        for op in ("rms_norm_qkv", "linear_residual", "gate_up_silu")
    },
    **{
        (op, TILED, bucket): KernelConfig(block_n=256, block_k=256)
        for op in ("rms_norm_qkv", "linear_residual", "gate_up_silu", "lm_head")
        for bucket in (SMALL, LARGE)
    },
    **{
        ("linear_residual", PERSISTENT, bucket): replace(_FEW_CTAS, block_m=256) if bucket is LARGE else _FEW_CTAS
        for bucket in (TINY, SMALL, MEDIUM, LARGE)
    },
    **{
        (op, PERSISTENT, bucket): replace(_FEW_CTAS, block_m=256 if bucket is LARGE else 64, prefetch_k=0)
        for op in ("rms_norm_qkv", "gate_up_silu")
        for bucket in (TINY, SMALL, MEDIUM, LARGE)
    },
    ("linear_residual", SPLIT_K, ANY): KernelConfig(block_n=1024),
    **{
        ("linear_residual", SPLIT_K, bucket): KernelConfig(block_m=64, block_n=256, block_k=256, num_splits=4)
        for bucket in (SMALL, MEDIUM, LARGE)
    },
    ("qkv_rope", PERSISTENT, TINY): replace(_FEW_CTAS, block_n=None, heads_per_tile=1),
    ("qkv_rope", PERSISTENT, SMALL): replace(_FEW_CTAS, block_n=None, heads_per_tile=1),
    ("qkv_rope", PERSISTENT, MEDIUM): replace(_FEW_CTAS, block_n=None, heads_per_tile=2),
    ("qkv_rope", PERSISTENT, LARGE): replace(_FEW_CTAS, block_m=256, block_n=None, heads_per_tile=2),
    ("lm_head", GEMV, ANY): KernelConfig(block_n=256, num_ctas=4),
    ("lm_head", SMALL_M, ANY): KernelConfig(block_n=256, num_ctas=4, num_slices=4),
    ("qkv_rope", TILED, ANY): KernelConfig(block_k=256),
    ("fused_attention", TILED, ANY): KernelConfig(block_n=256, block_k=256, attention_block_n=256),
    ("attention_decode", TILED, ANY): KernelConfig(block_n=256, max_splits=4),
    ("attention_prefill", SMALL_M, ANY): KernelConfig(block_m=16, block_n=256),
    ("attention_prefill", TILED, ANY): KernelConfig(block_m=128, block_n=128),
    ("attention_prefill", TILED, LARGE): KernelConfig(block_m=256, block_n=128),
    ("decode_attention", GEMV, ANY): replace(_FEW_SPLITS, min_keys_per_split=64),
    ("decode_attention", SMALL_M, ANY): _FEW_SPLITS,
    ("decode_attention", SMALL_M, LARGE): replace(_FEW_SPLITS, block_n=128),
}
TUNED_CONFIGS: Mapping[str, Configs] = {"sm_90": SM_90_CONFIGS, INTERPRETER.name: INTERPRETER_CONFIGS}
# The size from which on a bucket holds, largest first: outputs M*N of a persistent GEMM, rows M of split K, keys of an
# attention. 2**22 outputs are 128 tiles of 128 x 256, about one for each multiprocessor, 2**20 are 128 of 128 x 64 and
# 2**19 are 128 of 64 x 64. Of caches of more than 4096 slots bandwidth counts more than what a split costs.
MIN_SIZES: Mapping[str, Mapping[SizeBucket, int]] = {
    "persistent_gemm": {LARGE: 2**22, MEDIUM: 2**20 + 1, SMALL: 2**19 + 1, TINY: 0},
    "split_k": {LARGE: 129, MEDIUM: 65, SMALL: 0},
    "attention_prefill": {LARGE: 4097, ANY: 0},
    "decode_attention": {LARGE: 4097, ANY: 0},
}
# In the interpreter no op's own cases make the largest GEMM, but the documents of the coherence gate do.
INTERPRETER_MIN_SIZES = {
    **MIN_SIZES,
    "persistent_gemm": {LARGE: 2**18, MEDIUM: 2**14, SMALL: 2**13, TINY: 0},
    "attention_prefill": {LARGE: 1025, ANY: 0},
}
