"""CSVs of nights: read as Runs, or refused with the line that is wrong."""

import pytest

from braidcheck.ci.trend import table
from braidcheck.errors import UserError


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "nights.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_rows_of_one_time_are_one_run(file):
    text = "\ufefftime,series,value,control\r\n2026-01-02,b,2,\r\n2026-01-01,a,1,10\r\n2026-01-02, a ,nan,10\r\n\r\n"
    first, second = table.read(file(text))
    assert first.environment == {"started": "2026-01-01", "hardware": "nights", "imported": "nights.csv"}
    assert [(v.subject, v.value, dict(v.metrics)) for v in first.verdicts] == [("a", 1.0, {"control": 10.0})]
    assert [(v.subject, v.value) for v in second.verdicts] == [("b", 2.0), ("a", None)]
    assert table.read(file(text), "H200")[0].environment["hardware"] == "H200"


def test_numbers_are_times_too(file):
    text = "time,series,value\n10,a,1\n9,a,2\n"
    assert [run.verdicts[0].value for run in table.read(file(text))] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the first line must be"),
        ("time,series\n", "the first line must be"),
        ("time,series,value,contrl\n", "the first line must be"),
        ("time;series;value\n", "the first line must be"),
        ("time,series,value\n1,a,1\n2,a\n", "line 3: 2 cells, not 3"),
        ("time,series,value\n1,a,fast\n", "line 2: 'fast' is not a duration"),
        ("time,series,value\n1,a,0\n", "line 2: '0' is not a duration"),
        ("time,series,value\n1,a,-1\n", "line 2: '-1' is not a duration"),
        ("time,series,value\n1,a,inf\n", "line 2: 'inf' is not a duration"),
        ("time,series,value,control\n1,a,1,x\n", "line 2: 'x' is not a duration"),
        ("time,series,value\nnoon,a,1\n", "line 2: 'noon' is neither"),
        ("time,series,value\n1,,1\n", "line 2: the series has no name"),
        ("time,series,value\n1,a,1\n1,a,2\n", "line 3: a has two values at 1"),
        (b"time,series,value\n1,\xff,1\n", "not a CSV file in UTF-8"),
        ('time,series,value\n1,"a,1\n', "not a CSV file in UTF-8"),
    ],
)
def test_what_is_no_such_table_is_refused(file, text, says):
    with pytest.raises(UserError) as refused:
        table.read(file(text))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    ["decode tok/s", "copy [GB/s]", "attention TFLOP/s", "tokens_per_second", "bytes per sec", "copy_gb_s",
     "decode.throughput", "read-bandwidth", "hit_rate", "qps"],
)  # fmt: skip
def test_rates_say_so(name):
    assert table.is_rate(name)


@pytest.mark.parametrize(
    "name",
    ["rms_norm[rows=1] us", "generate", "ms/step", "us_per_step", "lm_head seconds", "time_s", "decode/small",
     "accurate", "tok/step", "attention_decode"],
)  # fmt: skip
def test_all_else_is_a_duration(name):
    assert not table.is_rate(name)


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*: No such file"):
        table.read(tmp_path / "none.csv")
