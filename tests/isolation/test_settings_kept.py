"""A setting of the whole process that a function leaves behind is named."""

import pytest
import torch

from braidcheck.isolation.settings_kept import LeftBehindError, settings_kept


@pytest.fixture
def restored():
    dtype, seed = torch.get_default_dtype(), torch.initial_seed()
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_default_dtype(dtype)
    torch.set_default_device(None)
    torch.set_grad_enabled(True)
    torch.manual_seed(seed)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: torch.set_default_dtype(torch.float64), "default dtype"),
        (lambda: torch.set_default_device("meta"), "default device"),
        (lambda: torch.set_grad_enabled(False), "is_grad_enabled"),
        (lambda: torch.manual_seed(torch.initial_seed() + 1), "initial_seed"),
    ],
)
def test_setting_that_is_left_is_named(restored, change, named):
    for _ in range(2):  # it is put back, or the second call would leave what it found
        with pytest.raises(LeftBehindError, match=named), settings_kept():
            change()


def test_what_is_put_back_or_only_used_is_no_change():
    with settings_kept(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.rand(3)
        torch.manual_seed(5)


def test_own_error_comes_through():
    with pytest.raises(ZeroDivisionError), settings_kept():
        raise ZeroDivisionError
