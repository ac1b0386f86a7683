"""Memory that two processes share: what the other side takes, gives back and finds in it."""

import os

import pytest
import torch

from braidcheck.isolation.memory import Mapping, Region


@pytest.fixture
def region():
    made = Region(1, torch.arange(100, dtype=torch.uint8).untyped_storage())
    yield made
    made.close()


@pytest.fixture
def mapping(region):
    return Mapping(os.dup(region.fd), region.start, region.size, "cpu")


def test_bytes_go_there_and_back(region, mapping):
    own = torch.arange(100, dtype=torch.uint8)
    region.write([own])
    assert torch.equal(mapping.placed, own)
    mapping.placed += 1
    region.read([own])
    assert torch.equal(own, torch.arange(1, 101, dtype=torch.uint8))


@pytest.mark.parametrize(("distance", "offset"), [(-1, None), (0, 0), (99, 99), (100, None)])
def test_what_begins_where_a_region_ends_is_not_in_it(mapping, distance, offset):
    """On a GPU the allocator puts the next tensor there."""
    assert mapping.offset_of(mapping.placed.data_ptr() + distance) == offset


@pytest.mark.parametrize("change", [-1, 1])
def test_the_size_of_a_region_cannot_be_changed(region, change):
    """Reading what was made shorter there would be a SIGBUS here."""
    with pytest.raises(PermissionError):
        os.ftruncate(region.fd, os.fstat(region.fd).st_size + change)
