"""The norm, RoPE and projection device functions that two ops share."""

from __future__ import annotations

import triton
import triton.language as tl


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
