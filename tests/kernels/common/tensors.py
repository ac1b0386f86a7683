"""Tensors of Triton's interpreter."""

import numpy as np
import torch
import triton.language as tl
from triton.runtime.interpreter import TensorHandle

from braidcheck.kernels.common.interpreter_operators import NUMPY


def interpreter_tensor(integers, dtype, shape, order="C"):
    """A tensor of ``shape``, a scalar for (), of these integers, or of their sevenths where ``dtype`` is a float."""
    values = integers if dtype.is_int() else integers / 7
    if dtype == tl.bfloat16:  # stored by its bits
        data = torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()
    else:
        data = values.astype(NUMPY[dtype.name])
    type = tl.block_type(dtype, list(shape)) if shape else dtype
    return tl.tensor(TensorHandle(np.array(data, order=order), dtype), type)
