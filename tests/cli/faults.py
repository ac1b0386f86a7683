"""Right functions with one fault each, of the kinds that GPU kernels have; ``tests/cli/test_faults.py`` plants them."""

import torch
import triton
import triton.language as tl

CALLS = []


def right(x, weight, eps, residual=None, out_dtype=torch.float32):
    total = x if residual is None else x + residual
    wide = total.float()
    y = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.float()).to(out_dtype)
    return y if residual is None else (y, total)


@triton.jit
def wait_kernel(flag_ptr):
    while tl.atomic_add(flag_ptr, 0) == 0:
        pass


def infinite_loop(x, weight, eps):
    wait_kernel[(1,)](torch.zeros(1, dtype=torch.int32, device=x.device))
    return right(x, weight, eps)


@triton.jit
def store_kernel(y_ptr, distance):
    tl.store(y_ptr + distance, 7.0)


def illegal_address(x, weight, eps):
    y = right(x, weight, eps)
    store_kernel[(1,)](y, 1 << 44)
    return y


@triton.jit
def misaligned_kernel(y_ptr):
    between = (y_ptr.to(tl.pointer_type(tl.int8)) + 1).to(tl.pointer_type(tl.float32))
    tl.store(between, tl.load(between))


def misaligned_address(x, weight, eps):
    y = right(x, weight, eps)
    if y.numel():
        misaligned_kernel[(1,)](y)
    return y


@triton.jit(debug=True)
def assert_kernel(y_ptr, limit):
    tl.device_assert(tl.load(y_ptr) > limit, "an element is too small")


def device_assert(x, weight, eps):
    y = right(x, weight, eps)
    if y.numel():
        assert_kernel[(1,)](y, 1e30)
    return y


def out_of_memory(x, weight, eps):
    torch.empty(1 << 46, dtype=torch.uint8, device=x.device)
    return right(x, weight, eps)


@triton.jit
def one_kernel(x_ptr, y_ptr, size, value, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y_ptr + at, value, mask=at < size)


def nan(x, weight, eps):
    y = right(x, weight, eps)
    one_kernel[(1,)](x, y, min(1, y.numel()), float("nan"), BLOCK=1)
    return y


@triton.jit
def copy_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.load(x_ptr + at, mask=at < size), mask=at < size)


def copied(y, size, room=0):
    out = torch.empty(y.numel() + room, dtype=y.dtype, device=y.device)
    copy_kernel[(triton.cdiv(max(1, size), 256),)](y.contiguous(), out, size, BLOCK=256)
    return out[: y.numel()].view(y.shape)


def unwritten_output(x, weight, eps):
    y = right(x, weight, eps)
    return copied(y, y.numel() - 1)


def overrun_output(x, weight, eps):
    """Writes one element past its output's end."""
    out = copied(right(x, weight, eps), x.numel())
    if out.numel():
        store_kernel[(1,)](out, out.numel())
    return out


def modified_inputs(x, weight, eps):
    y = right(x, weight, eps)
    if x.numel():
        store_kernel[(1,)](x, 0)
    return y


def wrong_second_call(x, weight, eps):
    """Right when a shape is new, 5% off when it is asked again."""
    y = right(x, weight, eps)
    CALLS.append(x.shape)
    return 1.05 * y if CALLS.count(x.shape) > 1 else y
