"""What a run has so far is saved from time to time."""

import itertools

import pytest

from braidcheck import autosave
from braidcheck.autosave import Autosave


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the clock shows at the next calls."""
    shown = [100.0]
    monkeypatch.setattr(autosave.time, "monotonic", lambda: shown[0])
    return shown


def test_it_saves_at_most_once_in_an_interval(clock):
    saved = []
    saver = Autosave(lambda: saved.append(clock[0] - 100))
    for clock[0] in itertools.chain([100.0, 104.9, 105.0, 109.9], [110.0, 110.1]):
        saver.update()
    assert saved == [0, autosave.INTERVAL_S, 2 * autosave.INTERVAL_S]


def test_the_interval_begins_when_saving_has_ended(clock):
    def save():
        saves.append(clock[0])
        clock[0] += 3 * autosave.INTERVAL_S  # a slow disk

    saves = []
    saver = Autosave(save)
    clock[0] += autosave.INTERVAL_S
    saver.update()
    saver.update()
    assert len(saves) == 1


def test_what_cannot_be_saved_is_tried_again(clock):
    def save():
        saves.append(clock[0])
        if len(saves) == 1:
            raise OSError("disk full")

    saves = []
    saver = Autosave(save)
    clock[0] += autosave.INTERVAL_S
    with pytest.raises(OSError, match="disk full"):
        saver.update()
    saver.update()
    assert len(saves) == 2
