import torch

from braidcheck.pytest import ops


def rms_norm(x, weight, eps):
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.float()).to(x.dtype)


@ops.rms_norm.with_(output="input dtype").cases(serves=lambda case: case.dtype == "bfloat16" and case["T"] <= 16)
def test_rms_norm(case):
    case.check(rms_norm)
