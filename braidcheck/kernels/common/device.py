"""What two ops share on the device, and the one shim for what Triton's interpreter gets wrong."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

INTERPRETED: bool = triton.knobs.runtime.interpret
REACHABLE = "cpu" if INTERPRETED else "cuda"  # the kind of device that this process runs kernels on


def mend_interpreter() -> None:
    """Give the interpreter the GPU's bfloat16: round to nearest even, and arithmetic on values, not on raw bits.

    Triton 3.6 to 3.9 truncate float32 -> bfloat16 and hand ``tl.dot`` and the float operators the uint16 storage.
    Mended here once, so that kernels need no upcasts, which on a GPU would turn their products into TF32.
    """
    import numpy as np
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    plain_cast, plain_dot = InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot

    def widen(bits: np.ndarray) -> np.ndarray:
        return (bits.astype(np.uint32) << 16).view(np.float32)

    def narrow(values: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
        return np.where(np.isnan(values), np.uint16(0x7FC0), rounded).reshape(values.shape)

    def floats(handle: TensorHandle) -> TensorHandle:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return TensorHandle(widen(handle.data), tl.float32)

    def cast(self, source, target, *_):
        kinds = source.dtype.scalar, target.scalar
        if kinds[0] == kinds[1]:
            return source
        if kinds[1] == tl.bfloat16 and kinds[0].is_floating():
            return TensorHandle(narrow(source.data.astype(np.float32)), tl.bfloat16)
        if kinds[0] == tl.bfloat16 and kinds[1].is_floating():
            return plain_cast(self, floats(source), target) if kinds[1] != tl.float32 else floats(source)
        return plain_cast(self, source, target)

    def dot(self, a, b, accumulator, *options):
        return plain_dot(self, floats(a), floats(b), accumulator, *options)

    def on_values(plain, compares: bool):
        def operator(self, lhs, rhs):
            result = plain(self, floats(lhs), floats(rhs))
            narrow_again = lhs.dtype.scalar == tl.bfloat16 and not compares
            return TensorHandle(narrow(result.data), tl.bfloat16) if narrow_again else result

        return operator

    InterpreterBuilder.cast_impl = cast
    InterpreterBuilder.create_fp_to_fp = cast
    InterpreterBuilder.create_dot = dot
    for name in dir(InterpreterBuilder):
        if name in ("create_fadd", "create_fsub", "create_fmul", "create_fdiv") or name.startswith("create_fcmp"):
            setattr(InterpreterBuilder, name, on_values(getattr(InterpreterBuilder, name), "fcmp" in name))


if INTERPRETED:
    from braidcheck.kernels.common import interpreter

    mend_interpreter()
    interpreter.quicken()


def token_block(num_tokens: int) -> int:
    """Rows of one program of a projection: one tensor-core tile in decode; in the interpreter few, large programs."""
    if INTERPRETED:
        return min(256, max(16, triton.next_power_of_2(num_tokens)))
    return 16 if num_tokens <= 16 else 64


def require(condition: bool, message: str) -> None:
    """Raise ValueError with ``message``: a wrapper that cannot serve its arguments says so and names them."""
    if not condition:
        raise ValueError(message)


def require_same_device(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless all given tensors lie on one device that the kernels of this process can reach."""
    devices = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    require(len(set(devices.values())) <= 1, f"tensors lie on different devices: {devices}")
    for name, device in devices.items():
        require(
            device.type == REACHABLE,
            f"{name} lies on {device.type}, but this process runs kernels on {REACHABLE}"
            + ("" if INTERPRETED else " (set TRITON_INTERPRET=1 before Python starts to run them on a CPU)"),
        )


def require_rows(**tensors: torch.Tensor | None) -> None:
    """Raise ValueError unless the last axis of each given tensor is contiguous (stride 1)."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.shape[-1] > 1:
            require(
                tensor.stride(-1) == 1, f"{name}: the last axis must be contiguous, its stride is {tensor.stride(-1)}"
            )


@triton.constexpr_function
def norm_block(block_t: int, block_k: int) -> int:
    """Columns that a row norm takes at a time: of few rows many, since each time is a wait for memory."""
    return max(block_k, 1024) if block_t <= 16 else block_k


@triton.jit
def inverse_rms(x_ptr, rows, row_mask, row_stride, width, eps, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr):
    """1 / sqrt(mean of squares + eps) of BLOCK_T rows, float32."""
    squares = tl.zeros([BLOCK_T, BLOCK_K], dtype=tl.float32)
    for start in range(0, width, BLOCK_K):
        columns = start + tl.arange(0, BLOCK_K)
        mask = row_mask[:, None] & (columns < width)[None, :]
        x = tl.load(x_ptr + rows[:, None] * row_stride + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        squares += x * x
    return 1.0 / tl.sqrt(tl.sum(squares, axis=1) / width + eps)


@triton.jit
def norm_rows(x, norm_ptr, columns, width, eps):
    """RMSNorm of whole rows x[rows, columns], float32, with a weight [width]; columns past it hold zeros."""
    inverse = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / width + eps)
    weight = tl.load(norm_ptr + columns, mask=columns < width, other=0.0).to(tl.float32)
    return x * inverse[:, None] * weight[None, :]


@triton.jit
def project_rows(
    x_ptr, rows, row_mask, x_stride, weight_ptr, columns, column_mask, weight_stride, length, BLOCK_T: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """x[rows] @ weight[columns].T, accumulated in float32."""
    acc = tl.zeros([BLOCK_T, BLOCK_N], dtype=tl.float32)
    for start in range(0, length, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        k_mask = k < length
        x = tl.load(x_ptr + rows[:, None] * x_stride + k[None, :], mask=row_mask[:, None] & k_mask[None, :], other=0.0)
        w_mask = k_mask[:, None] & column_mask[None, :]
        w = tl.load(weight_ptr + columns[None, :] * weight_stride + k[:, None], mask=w_mask, other=0.0)
        acc = tl.dot(x, w, acc, input_precision="ieee")
    return acc


@triton.jit
def norm_and_project_rows(
    x_ptr, rows, row_mask, x_stride, norm_ptr, weight_ptr, columns, column_mask, weight_stride, length, eps,
    BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """rms_norm(x[rows]) @ weight[columns].T: the normalised rows are rounded to the weight's dtype."""
    block: tl.constexpr = norm_block(BLOCK_T, BLOCK_K)
    inverse = inverse_rms(x_ptr, rows, row_mask, x_stride, length, eps, BLOCK_T, block)
    acc = tl.zeros([BLOCK_T, BLOCK_N], dtype=tl.float32)
    for start in range(0, length, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        k_mask = k < length
        x = tl.load(x_ptr + rows[:, None] * x_stride + k[None, :], mask=row_mask[:, None] & k_mask[None, :], other=0.0)
        norm = tl.load(norm_ptr + k, mask=k_mask, other=0.0).to(tl.float32)
        x = (x.to(tl.float32) * inverse[:, None] * norm[None, :]).to(weight_ptr.dtype.element_ty)
        w_mask = k_mask[:, None] & column_mask[None, :]
        w = tl.load(weight_ptr + columns[None, :] * weight_stride + k[:, None], mask=w_mask, other=0.0)
        acc = tl.dot(x, w, acc, input_precision="ieee")
    return acc


@triton.jit
def norm_halves(first, second, weight_ptr, dims, dim_mask, eps, HEAD_DIM: tl.constexpr):
    """RMSNorm of heads held as two halves [rows, HALF], float32, with a weight [HEAD_DIM]."""
    squares = tl.sum(first * first, axis=1) + tl.sum(second * second, axis=1)
    inverse = 1.0 / tl.sqrt(squares / HEAD_DIM + eps)
    weight1 = tl.load(weight_ptr + dims, mask=dim_mask, other=0.0).to(tl.float32)
    weight2 = tl.load(weight_ptr + HEAD_DIM // 2 + dims, mask=dim_mask, other=0.0).to(tl.float32)
    return first * inverse[:, None] * weight1[None, :], second * inverse[:, None] * weight2[None, :]


@triton.jit
def rotate_halves(
    first, second, cos_sin_ptr, positions, row_mask, max_positions, dims, dim_mask, HEAD_DIM: tl.constexpr
):
    """RoPE of heads held as two halves [rows, HALF], float32, by the table's rows at ``positions`` [rows].

    A position outside the table gives NaN: never a plausible number.
    """
    known = row_mask & (positions >= 0) & (positions < max_positions)
    angles = cos_sin_ptr + positions[:, None] * HEAD_DIM + dims[None, :]
    mask = known[:, None] & dim_mask[None, :]
    cos = tl.load(angles, mask=mask, other=float("nan"))
    sin = tl.load(angles + HEAD_DIM // 2, mask=mask, other=float("nan"))
    return first * cos - second * sin, second * cos + first * sin
