"""The file of waivers: what it must say, and how its mistakes are told."""

import pytest

from braidcheck.ci.protection import waivers
from braidcheck.errors import UserError

GOOD = '[[waiver]]\nsubject = "accuracy op[a]"\nreason = "a better bound"\nexpires = 2030-01-31\n'


def test_none_without_a_file(tmp_path):
    assert waivers.read(tmp_path) == []


def test_a_waiver_is_read(tmp_path):
    (tmp_path / waivers.FILE).write_text(GOOD)
    assert waivers.read(tmp_path) == [
        {"subject": "accuracy op[a]", "reason": "a better bound", "expires": "2030-01-31"}
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace('reason = "a better bound"\n', ""), "the waiver of accuracy op.a. has no reason"),
        (GOOD.replace("a better bound", " "), "has no reason"),
        (GOOD.replace("expires = 2030-01-31\n", ""), "has no expires"),
        (GOOD.replace("2030-01-31", '"2030-01-31"'), "has no expires"),
        (GOOD.replace("2030-01-31", "2030-01-31T10:00:00"), "has no expires"),
        (GOOD.replace('subject = "accuracy op[a]"\n', ""), r"the waiver of \? has no subject"),
        (GOOD + 'who = "me"\n', "a waiver is"),
        (GOOD + GOOD, "accuracy op.a. is waived twice"),
        ("waiver = 3\n", "a waiver is"),
        ("[other]\n", "a waiver is"),
        ("[[waiver", "is not valid TOML"),
        ("waiver = " + "[" * 3000, "is not valid TOML"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, text, said):
    (tmp_path / waivers.FILE).write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        waivers.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_waiver_that_is_a_number_is_one_line(tmp_path):
    (tmp_path / waivers.FILE).write_text("waiver = [1]\n")
    with pytest.raises(UserError, match="a waiver is"):
        waivers.read(tmp_path)
