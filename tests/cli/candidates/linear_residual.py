"""Functions for ``braidcheck check linear_residual``: right ones of other people's making, and wrong ones."""

import torch

HOLD = {}


# Right ones.


def right_linear(x, weight, residual):
    return (residual.float() + x.float() @ weight.float().T).to(residual.dtype)


def right_linear_transposed(x, weight, residual):
    return (residual.float().T + weight.float() @ x.float().T).to(residual.dtype).T


# Wrong ones.


def wrong_linear_spoils_the_residual(x, weight, residual):
    out = right_linear(x, weight, residual)
    residual.zero_()
    return out


def wrong_linear_adds_in_place(x, weight, residual):
    return residual.add_((x.float() @ weight.float().T).to(residual.dtype))


def wrong_linear_takes_weights_to_be_packed(x, weight, residual):
    return right_linear(x, weight.as_strided(weight.shape, (weight.shape[1], 1)), residual)


def wrong_linear_returns_a_list_of_views(x, weight, residual):
    kept = HOLD.setdefault(("out", residual.dtype), torch.zeros(1 << 20, dtype=residual.dtype))
    return kept[: residual.numel()].view(residual.shape).copy_(right_linear(x, weight, residual))


RIGHT = [right_linear, right_linear_transposed]
WRONG = [
    wrong_linear_spoils_the_residual,
    wrong_linear_adds_in_place,
    wrong_linear_takes_weights_to_be_packed,
    wrong_linear_returns_a_list_of_views,
]
