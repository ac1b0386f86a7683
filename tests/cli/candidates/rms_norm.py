"""Functions for ``braidcheck check rms_norm``: right ones of other people's making, and wrong ones."""

import torch

HOLD = {}


def normed(x, weight, eps):
    return x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps) * weight.float()


# Right ones.


def right_norm(x, weight, eps, residual=None, out=None, out_dtype=torch.float32):
    total = x.float() if residual is None else x.float() + residual.float()
    y = normed(total, weight, eps).to(out_dtype)
    y = y if out is None else out.copy_(y)
    return y if residual is None else (y, total.to(x.dtype))


def right_norm_without_options(hidden, gain, epsilon):
    return normed(hidden, gain, epsilon)


def right_norm_that_needs_contiguous(x, weight, eps, **options):
    if not x.is_contiguous():
        raise NotImplementedError("x must be contiguous")
    return right_norm(x, weight, eps, **options)


def right_norm_of_wide_rows(x, weight, eps):
    assert x.shape[-1] >= 256, "rows must be of 256 elements or more"
    return normed(x, weight, eps)


def right_norm_by_view(x, weight, eps):
    return normed(x.view(-1).view(x.shape), weight, eps)


# Wrong ones.


def wrong_one_memory_for_a_shape(x, weight, eps):
    held = HOLD.setdefault(("memory", x.shape, x.device), torch.empty(x.shape, device=x.device))
    return held.copy_(normed(x, weight, eps))


def wrong_at_the_second_call(x, weight, eps):
    HOLD["calls"] = HOLD.get("calls", 0) + 1
    return normed(x, weight, eps) * (1.05 if HOLD["calls"] % 2 == 0 else 1)


def wrong_after_thirty_calls(x, weight, eps):
    HOLD["many"] = HOLD.get("many", 0) + 1
    return normed(x, weight, eps) * (1.05 if HOLD["many"] > 40 else 1)


def wrong_remembers_by_shape(x, weight, eps):
    scale = HOLD.setdefault(("scale", x.shape, x.dtype), torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps))
    return x.float() * scale * weight.float()


def wrong_remembers_by_address(x, weight, eps):
    key = "address", x.data_ptr(), x.shape
    HOLD[key] = HOLD.get(key, (x, normed(x, weight, eps)))  # which keeps x, so that no other gets its address
    return HOLD[key][1].clone()


def wrong_keeps_the_first_weight(x, weight, eps):
    return normed(x, HOLD.setdefault(("weight", weight.shape, weight.dtype), weight.clone()), eps)


def wrong_spoils_its_input(x, weight, eps):
    y = normed(x, weight, eps)
    x.zero_()
    return y


def wrong_works_in_its_input(x, weight, eps):
    y = normed(x, weight, eps)
    return x.copy_(y) if x.dtype == torch.float32 else y


def wrong_takes_rows_to_be_packed(x, weight, eps):
    return normed(x.as_strided(x.shape, (x.shape[1], 1)), weight, eps)


def wrong_takes_weights_to_be_packed(x, weight, eps):
    return normed(x, weight.as_strided(weight.shape, (1,)), eps)


def wrong_begins_at_the_storage(x, weight, eps):
    return normed(x.as_strided(x.shape, x.stride(), 0), weight, eps)


def wrong_for_other_widths(x, weight, eps):
    known = x.shape[1] in (128, 256, 512, 896, 1000, 1024)
    return normed(x, weight, eps) * (1 if known else 1.05)


def wrong_for_other_rows(x, weight, eps):
    return normed(x, weight, eps) * (1 if len(x) in (1, 3, 5, 7, 9, 16, 17, 33, 65, 66) else 1.05)


def wrong_scratch(x, weight, eps):
    sums = torch.empty(len(x), 1, device=x.device)
    sums[: max(1, len(x) - 1)] = x[: max(1, len(x) - 1)].float().square().mean(-1, keepdim=True)
    sums = torch.where(sums.isnan(), x.float().square().mean(-1, keepdim=True), sums)  # it looks like new memory
    return x.float() * torch.rsqrt(sums + eps) * weight.float()


def wrong_sum_is_the_residual(x, weight, eps, residual=None):
    if residual is None:
        return normed(x, weight, eps)
    residual.copy_((x.float() + residual.float()).to(x.dtype))
    return normed(residual, weight, eps), residual


RIGHT = [
    right_norm,
    right_norm_without_options,
    right_norm_that_needs_contiguous,
    right_norm_of_wide_rows,
    right_norm_by_view,
]
WRONG = [
    wrong_one_memory_for_a_shape,
    wrong_at_the_second_call,
    wrong_after_thirty_calls,
    wrong_remembers_by_shape,
    wrong_remembers_by_address,
    wrong_keeps_the_first_weight,
    wrong_spoils_its_input,
    wrong_works_in_its_input,
    wrong_takes_rows_to_be_packed,
    wrong_takes_weights_to_be_packed,
    wrong_begins_at_the_storage,
    wrong_for_other_widths,
    wrong_for_other_rows,
    wrong_scratch,
    wrong_sum_is_the_residual,
]
