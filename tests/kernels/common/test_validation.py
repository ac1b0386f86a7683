"""Shapes from one declaration: what fits gives its sizes, what does not is named."""

import pytest
import torch

from braidcheck.kernels.common.validation import (
    check_shapes,
    require_contiguous_heads,
    require_contiguous_last_dim,
    require_contiguous_rows,
    require_grouped_heads,
    require_rope_table,
    require_same_device,
    require_same_dtype,
)


def test_sizes_of_what_fits():
    sizes = check_shapes("x[T,H] weight[H] out[T,H]", x=torch.empty(0, 3), weight=torch.empty(3), out=None)
    assert sizes == {"T": 0, "H": 3}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"x": (5,), "weight": (5,)}, r"^x must be \[T,H\], is \[5\]$"),
        ({"x": (5, 4), "weight": (5,)}, r"^weight must be \[H=4\], is \[5\]$"),
        ({"x": (5, 4), "weight": (4, 1)}, r"^weight must be \[H=4\], is \[4, 1\]$"),
        ({"x": (5, 4), "weight": ()}, r"^weight must be \[H=4\], is \[\]$"),
    ],
)
def test_another_shape_is_refused_by_name(shapes, message):
    with pytest.raises(ValueError, match=message):
        check_shapes("x[T,H] weight[H]", **{name: torch.empty(shape) for name, shape in shapes.items()})


def test_a_size_may_be_fixed():
    assert check_shapes("x[T,H] weight[N,H]", x=torch.empty(5, 4), weight=None, N=6) == {"T": 5, "H": 4, "N": 6}
    with pytest.raises(ValueError, match=r"^weight must be \[N=6,H=4\], is \[7, 4\]$"):
        check_shapes("x[T,H] weight[N,H]", x=torch.empty(5, 4), weight=torch.empty(7, 4), N=6)


def test_another_shape_is_refused_each_time():
    for _ in range(2):
        assert check_shapes("x[T,H] weight[H]", x=torch.empty(5, 4), weight=torch.empty(4)) == {"T": 5, "H": 4}
        with pytest.raises(ValueError, match="weight must be"):
            check_shapes("x[T,H] weight[H]", x=torch.empty(5, 4), weight=torch.empty(5))


def test_one_tensor_needs_one_size_per_axis():
    with pytest.raises(ValueError, match=r"^x must be \[N,N\], is \[2, 3\]$"):
        check_shapes("x[N,N]", x=torch.empty(2, 3))


@pytest.mark.parametrize("declaration", ["x[T]", "x[T] weight[T] more[T]"])
def test_a_declaration_of_other_tensors_is_an_error(declaration):
    with pytest.raises(TypeError, match="given are x, weight"):
        check_shapes(declaration, x=torch.empty(1), weight=torch.empty(1))


def test_a_strided_last_axis_is_refused_by_name():
    require_contiguous_last_dim(x=torch.empty(4, 1).T, missing=None)
    with pytest.raises(ValueError, match=r"^y: the last axis must be contiguous, its stride is 3$"):
        require_contiguous_last_dim(y=torch.empty(2, 3).T)


def test_another_device_is_refused_by_name():
    require_same_device(x=torch.empty(1), missing=None)
    with pytest.raises(ValueError, match="x lies on meta"):
        require_same_device(missing=None, x=torch.empty(1, device="meta"))
    with pytest.raises(ValueError, match="different devices"):
        require_same_device(x=torch.empty(1, device="meta"), y=torch.empty(1))


def test_another_dtype_is_refused():
    require_same_dtype(x=torch.empty(1), y=torch.empty(2))
    with pytest.raises(ValueError, match=r"^x, y must have one dtype, are torch.float32, torch.float16$"):
        require_same_dtype(x=torch.empty(1), y=torch.empty(1).half())


def test_parted_heads_are_refused_by_name():
    heads = torch.empty(3, 4, 8)
    require_contiguous_heads(q=heads, k=torch.empty(3, 64)[:, :32].unflatten(1, (4, 8)))
    for parted in (heads.transpose(1, 2), heads[:, :, :6], torch.empty(3, 8, 8)[:, ::2]):
        with pytest.raises(ValueError, match="the heads of k must be contiguous"):
            require_contiguous_heads(q=heads, k=parted)


def test_parted_rows_of_a_cache_are_refused_by_name():
    cache = torch.empty(4, 6, 2, 8)
    require_contiguous_rows(k_cache=cache, v_cache=cache[::2])
    for parted in (cache[:, ::2], cache[:, :, :1], cache.transpose(1, 2)):
        with pytest.raises(ValueError, match="each row of v_cache must be contiguous"):
            require_contiguous_rows(k_cache=cache, v_cache=parted)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.empty(4, 8).double(), "contiguous float32, is torch.float64"),
        (torch.empty(8, 4).T, "contiguous float32"),
        (torch.empty(4, 7), "must be even, is 7"),
    ],
)
def test_a_table_of_angles_that_kernels_would_misread_is_refused(table, message):
    require_rope_table(torch.empty(4, 8))
    with pytest.raises(ValueError, match=message):
        require_rope_table(table)


@pytest.mark.parametrize("num_kv_heads", [0, 4])
def test_query_heads_that_no_kv_head_serves_are_refused(num_kv_heads):
    require_grouped_heads(6, 2)
    with pytest.raises(ValueError, match=f"^Hq must be a multiple of Hkv={num_kv_heads}, is 6$"):
        require_grouped_heads(6, num_kv_heads)
