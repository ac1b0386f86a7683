"""How functions are called: what they allocate and do not write is poison."""

import pytest
import torch

from braidcheck.numerics.calls import poisoned_outputs


@pytest.mark.parametrize("before", ["default", "warn", "error"])
def test_memory_that_nobody_writes_is_nan_and_the_mode_is_left_as_it_was(monkeypatch, before):
    def imports_the_compiler(*args, **options):
        raise AssertionError("a second of each process")

    monkeypatch.setattr(torch, "use_deterministic_algorithms", imports_the_compiler)
    torch.set_deterministic_debug_mode(before)
    mode = torch.get_deterministic_debug_mode()
    try:
        with poisoned_outputs():
            assert torch.empty(3).isnan().all()
            assert torch.get_deterministic_debug_mode() == 1  # "warn"
        assert torch.get_deterministic_debug_mode() == mode
    finally:
        torch.set_deterministic_debug_mode("default")
