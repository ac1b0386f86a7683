"""The table of the smallest faults seen."""

from braidcheck.report import sensitivity


def row(smallest, fault="one element", largest=16.0, **other):
    base = {
        "gate": "accuracy",
        "op": "rms_norm",
        "on": "bfloat16, 6 cases",
        "trials": 20,
        "counts": [],
        "least": 2**-32,
    }
    return base | {"fault": fault, "smallest": smallest, "largest": largest} | other


def test_sizes_are_said_as_powers_of_two_and_positions_as_tokens():
    assert sensitivity.format_size(row(2**-9)) == "2^-9"
    assert sensitivity.format_size(row(4.0, "one position")) == "4"
    assert sensitivity.format_size(row(2**-32)) == "<= 2^-32"
    assert sensitivity.format_size(row(1.0, "one position", least=1.0)) == "1"
    assert sensitivity.format_size(row(None)) == "not detected up to 2^4"
    assert sensitivity.format_size(row(None, "one position", 64.0)) == "not detected up to 64"


def test_a_row_an_op_and_a_table_a_gate(capsys):
    sensitivity.show([row(2**-9), row(2**-5, "every element"), row(None, gate="coherence", on="nano")])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["rms_norm", "bfloat16", "2^-9", "2^-5"] in lines
    assert ["rms_norm", "nano", "not", "detected", "up", "to", "2^4"] in lines
    assert ["accuracy"] in lines
    assert ["coherence"] in lines
