"""The sweep over planted races: which mutants it takes."""

from tools import delay_sweep


def test_it_takes_the_races_of_kernels_that_sleep_and_none_first():
    unmutated, *mutants = [mutant.id for mutant in delay_sweep._mutants("")]
    assert unmutated == "unmutated"
    assert {"decode_attention: no barrier before the count", "lm_head: tiled, wait left out"} <= set(mutants)
    assert not any(mutant.startswith("sample: ") for mutant in mutants)


def test_it_takes_some_by_their_names():
    _, *mutants = [mutant.id for mutant in delay_sweep._mutants("relaxed")]
    assert mutants == ["decode_attention: relaxed count"]
