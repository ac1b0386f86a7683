"""Launch configs: found by op, regime and size, overridden within a context, safe on a GPU class that nobody tuned."""

import pytest

from braidcheck import kernels
from braidcheck.arch import GENERIC, GPUS, INTERPRETER
from braidcheck.kernels.common import configs, tuned_configs
from braidcheck.kernels.common.configs import get_config, has_config, override_config, size_bucket
from braidcheck.kernels.common.kernel_config import (
    ANY,
    GEMV,
    LARGE,
    MEDIUM,
    PERSISTENT,
    SMALL,
    TILED,
    TINY,
    KernelConfig,
)
from braidcheck.kernels.common.tuned_configs import DEFAULT_CONFIGS, SM_90_CONFIGS, TUNED_CONFIGS

KEY = "rms_norm", TILED, ANY
# In tiles [BLOCK_M, BLOCK_K] and [BLOCK_N, BLOCK_K] that go through shared memory.
TILED_KEYS = [key for key, config in SM_90_CONFIGS.items() if key[1] is TILED and config.block_k and config.block_n]
MAX_SHARED_BYTES = GPUS["sm_90"].shared_memory_bytes
ARGMAX_BYTES = 9_216  # what the head's argmax takes beside its tiles


def on_gpu(monkeypatch, capability):
    monkeypatch.setattr(configs, "INTERPRETED", False)
    monkeypatch.setattr(configs, "capability", lambda: capability)


def test_meta_are_the_arguments_of_a_launch():
    assert KernelConfig(block_m=16, num_ctas=4, num_warps=2).meta() == {"BLOCK_M": 16, "NUM_CTAS": 4, "num_warps": 2}


def test_the_interpreter_has_configs_of_its_own():
    assert configs.launch_arch() is INTERPRETER
    assert get_config("rms_norm") == TUNED_CONFIGS["interpreter"][KEY] != DEFAULT_CONFIGS[KEY]


def test_a_tuned_gpu_gets_its_configs(monkeypatch):
    on_gpu(monkeypatch, (9, 0))
    assert configs.launch_arch() is GPUS["sm_90"]
    assert get_config("lm_head", GEMV) == SM_90_CONFIGS["lm_head", GEMV, ANY] != DEFAULT_CONFIGS["lm_head", GEMV, ANY]
    assert has_config("qkv_rope", PERSISTENT, LARGE)


@pytest.mark.parametrize("capability", [(0, 0), (8, 0), (10, 0), (12, 0)])
def test_an_untuned_gpu_gets_the_safe_path(monkeypatch, capability):
    on_gpu(monkeypatch, capability)
    arch = configs.launch_arch()
    assert arch is GENERIC
    assert not arch.has_tma
    assert not arch.has_pdl
    assert configs.configs() is DEFAULT_CONFIGS
    assert not has_config("qkv_rope", PERSISTENT, LARGE)
    with pytest.raises(KeyError):
        get_config("qkv_rope", PERSISTENT, LARGE)


@pytest.mark.parametrize("name", TUNED_CONFIGS)
def test_every_key_is_of_an_op_and_no_default_is_missing(name):
    assert {op for op, *_ in TUNED_CONFIGS[name]} <= kernels.find().keys()
    assert set(DEFAULT_CONFIGS) <= set(TUNED_CONFIGS[name])


def test_overrides_nest_and_touch_nothing_else():
    plain, one, other = get_config(*KEY), KernelConfig(block_m=2), KernelConfig(block_m=4)
    with override_config({KEY: one}):
        with override_config({KEY: other}):
            assert get_config(*KEY) == other
        assert get_config(*KEY) == one
        assert get_config("cache_write") == TUNED_CONFIGS["interpreter"]["cache_write", TILED, ANY]
    assert get_config(*KEY) == plain


def test_an_override_ends_with_an_error():
    def fail():
        with override_config({KEY: KernelConfig(block_m=2)}):
            raise RuntimeError

    plain = get_config(*KEY)
    with pytest.raises(RuntimeError):
        fail()
    assert get_config(*KEY) == plain


@pytest.mark.parametrize(
    ("kernel", "size", "bucket"),
    [
        ("persistent_gemm", 0, TINY),
        ("persistent_gemm", 2**19, TINY),
        ("persistent_gemm", 2**19 + 1, SMALL),
        ("persistent_gemm", 2**20, SMALL),
        ("persistent_gemm", 2**20 + 1, MEDIUM),
        ("persistent_gemm", 2**22 - 1, MEDIUM),
        ("persistent_gemm", 2**22, LARGE),
        ("split_k", 17, SMALL),
        ("split_k", 64, SMALL),
        ("split_k", 65, MEDIUM),
        ("split_k", 128, MEDIUM),
        ("split_k", 129, LARGE),
        ("attention_prefill", 4096, ANY),
        ("attention_prefill", 4097, LARGE),
        ("decode_attention", 4096, ANY),
        ("decode_attention", 4097, LARGE),
    ],
)
def test_a_bucket_begins_at_its_size(monkeypatch, kernel, size, bucket):
    monkeypatch.setattr(configs, "INTERPRETED", False)
    assert size_bucket(kernel, size) is bucket


def test_buckets_of_the_interpreter_begin_earlier():
    assert tuned_configs.INTERPRETER_MIN_SIZES.keys() == tuned_configs.MIN_SIZES.keys()
    assert size_bucket("persistent_gemm", 2**18) is size_bucket("attention_prefill", 1025) is LARGE
    assert size_bucket("persistent_gemm", 2**14) is MEDIUM


@pytest.mark.parametrize("key", TILED_KEYS)
def test_tiles_of_float32_weights_fit_in_shared_memory(key):
    """Triton keeps num_stages - 1 tiles of each operand: of the head's 256 x 128 with 3 stages 278,528 bytes, and with
    the argmax's the 287,744 that a GPU refused."""
    config = SM_90_CONFIGS[key]
    block_m = 16 if key[2] is SMALL else 64
    columns = config.block_n * (2 if key[0] == "gate_up_silu" else 1)
    operands = (block_m + columns) * config.block_k * 4 * ((config.num_stages or 3) - 1)
    assert operands + ARGMAX_BYTES <= MAX_SHARED_BYTES
