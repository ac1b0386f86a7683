"""The seal of a JSON file: whatever is changed in it shows, and older files are still read."""

import json

import pytest

from braidcheck import checksum

TEXT = '{"a": 1,\n "b": [1e-05, "\\u00e9", null],\n "c": {"d": true}\n}\n'
SEALED = checksum.seal(TEXT, "run 2")


def flips(text):
    """The text with each of its bits turned, where that is still text."""
    data = text.encode()
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            yield changed.decode()
        except UnicodeDecodeError:
            continue


def test_what_was_sealed_is_read_as_it_was():
    assert checksum.opened(SEALED, "run 2") == json.loads(TEXT)
    assert json.loads(SEALED).keys() - json.loads(TEXT).keys() == {"schema", "checksum"}
    assert checksum.is_sealed(SEALED)


def test_a_file_of_before_there_were_checksums_is_read():
    assert checksum.opened(TEXT, "run 2") == json.loads(TEXT)
    assert not checksum.is_sealed(TEXT)


def test_every_single_bit_that_turns_is_noticed():
    for changed in flips(SEALED):
        with pytest.raises(ValueError, match=r"\w"):
            checksum.opened(changed, "run 2")


def test_it_may_be_laid_out_otherwise():
    body = json.loads(SEALED)
    for text in (json.dumps(body), json.dumps(body, indent=4), SEALED.replace("\n", "\r\n")):
        assert checksum.opened(text, "run 2") == json.loads(TEXT)
    body["a"] = 2
    with pytest.raises(ValueError, match="changed after it was written"):
        checksum.opened(json.dumps(body), "run 2")


def test_every_end_that_is_missing_is_noticed():
    for length in range(len(SEALED.rstrip())):
        with pytest.raises(ValueError, match=r"\w"):
            checksum.opened(SEALED[:length], "run 2")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SEALED, "it is a run 2, not a kill matrix 1"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"checksum": "sha256:' + "0" * 64 + '"}', "checksum differs"),
        ('{"schema": "kill matrix 1"}', "checksum differs"),
    ],
)
def test_what_is_another_file_is_one_line(text, says):
    with pytest.raises(ValueError, match=says) as said:
        checksum.opened(text, "kill matrix 1")
    assert "\n" not in str(said.value)
