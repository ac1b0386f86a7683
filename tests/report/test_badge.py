"""A Run as a badge: its status in words that any reader can see, in colours that can be read."""

from xml.etree import ElementTree

import pytest

from braidcheck.report import badge
from braidcheck.result import Run, Status

SVG = "{http://www.w3.org/2000/svg}"


def said(run):
    root = ElementTree.fromstring(badge.render(run))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert root.get("aria-label") == root.find(f"{SVG}title").text == ": ".join(texts)
    return texts[1]


def test_it_says_the_status_in_words(broken, green, verdict):
    assert said(green) == "2 checks pass"
    assert said(broken) == "1 fail"
    assert said(Run({}, ("interpret/accuracy/lost",), green.verdicts)) == "1 error"
    assert said(Run({}, (), (verdict("layers", "a", Status.SKIPPED),))) == "nothing evaluated"
    assert said(Run({}, (), (verdict("timing", "a", Status.INCONCLUSIVE),))) == "1 inconclusive"


def test_hostile_text_is_not_in_it(hostile):
    assert "script" not in badge.render(hostile)


@pytest.mark.parametrize("colour", sorted({*badge.COLOURS.values(), badge.NAME_COLOUR}))
def test_white_text_can_be_read(colour):
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    assert 1.05 / (luminance + 0.05) > 4.5  # what WCAG AA asks for


def test_every_status_has_a_colour():
    assert badge.COLOURS.keys() == set(Status)
