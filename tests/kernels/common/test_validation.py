"""Shapes from one declaration: what fits gives its sizes, what does not is named."""

import pytest
import torch

from braidcheck.kernels.common.validation import check_shapes, require_contiguous_last_dim, require_same_device


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
        require_same_device(x=torch.empty(1, device="meta"))
    with pytest.raises(ValueError, match="different devices"):
        require_same_device(x=torch.empty(1, device="meta"), y=torch.empty(1))
