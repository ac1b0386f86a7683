"""What a changed argument holds: numbers that the change shows in."""

import torch

from braidcheck.gates.edges.changes import named_changes


def test_numbers_of_another_dtype_do_not_survive_a_cast_back():
    changes = dict(named_changes(torch.ones(3, dtype=torch.bfloat16), thorough=True))
    for dtype in (torch.float16, torch.float32):
        changed = changes[str(dtype)](torch.ones(3, dtype=torch.bfloat16))
        assert changed.dtype == dtype
        assert not torch.equal(changed.bfloat16().to(dtype), changed)


def test_indices_keep_their_numbers():
    changed = dict(named_changes(torch.arange(3), thorough=True))["torch.int32"](torch.arange(3))
    assert changed.tolist() == [0, 1, 2]
