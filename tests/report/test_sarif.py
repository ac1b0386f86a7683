"""A Run as SARIF: what code scanning needs of each result, and what makes two results one alert."""

import json
import re
from dataclasses import replace

import pytest

from braidcheck.gates import ENGINE_GATES, GATES
from braidcheck.report import sarif
from braidcheck.result import Run, Status

# Of SARIF 2.1.0's schema: what each object that is written here must have, and may have, by type.
TEXT = {"text": str}
SHAPE = {
    "$schema": str,
    "version": str,
    "runs": [
        {
            "tool": {
                "driver": {
                    "name": str,
                    "version": str,
                    "rules": [
                        {"id": str, "shortDescription": TEXT, "help": TEXT, "defaultConfiguration": {"level": str}}
                    ],
                }
            },
            "columnKind": str,
            "results": [
                {
                    "ruleId": str,
                    "ruleIndex": int,
                    "level": str,
                    "message": TEXT,
                    "locations": [
                        {
                            "physicalLocation": {
                                "artifactLocation": {"uri": str, "uriBaseId": str},
                                "region": {"startLine": int},
                            },
                            "logicalLocations": [{"fullyQualifiedName": str}],
                        }
                    ],
                    "partialFingerprints": dict,
                }
            ],
        }
    ],
}
MORE = {"properties"}  # a bag, which may hold anything


def differences(value, shape, at="$"):
    """Where ``value`` is not of ``shape``."""
    if isinstance(shape, list):
        rows = value if isinstance(value, list) else [None]
        return [line for number, row in enumerate(rows) for line in differences(row, shape[0], f"{at}[{number}]")]
    if isinstance(shape, dict) and shape:
        if not isinstance(value, dict) or value.keys() - MORE != shape.keys():
            return [at]
        return [line for name in shape for line in differences(value[name], shape[name], f"{at}.{name}")]
    return [] if isinstance(value, shape if isinstance(shape, type) else dict) else [at]


def parsed(run):
    body = json.loads(sarif.render(run))
    assert differences(body, SHAPE) == []
    (only,) = body["runs"]
    rules = only["tool"]["driver"]["rules"]
    for result in only["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning")
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] >= 1
    return only


def test_a_failure_is_on_its_kernels_line_with_its_gates_question(broken):
    only = parsed(broken)
    first = only["results"][0]
    where = first["locations"][0]["physicalLocation"]
    assert where["artifactLocation"]["uri"] == "braidcheck/kernels/qkv_rope/kernel.py"
    assert where["region"]["startLine"] > 1
    assert first["message"]["text"] == "qkv_rope[b]: qkv_rope is 9.0 times its bound"
    assert first["properties"]["reproduce"] == "braidcheck gate --op qkv_rope -k 'qkv_rope[b]'"
    assert first["properties"]["headroom"] == "none, 9 x the limit"
    rules = {rule["id"]: rule["shortDescription"]["text"] for rule in only["tool"]["driver"]["rules"]}
    assert rules["accuracy"] == GATES["accuracy"].question
    assert [result["ruleId"] for result in only["results"]] == ["accuracy", "coherence", "no-verdict"]


def test_a_rule_of_an_engines_gate_has_its_question(verdict):
    only = parsed(Run({}, (), (verdict("surfaces", "mine on nano: streaming", Status.FAIL),)))
    assert only["tool"]["driver"]["rules"][0]["shortDescription"]["text"] == ENGINE_GATES["surfaces"]


def test_what_blames_no_kernel_is_still_somewhere(broken):
    (lost,) = (result for result in parsed(broken)["results"] if result["ruleId"] == "no-verdict")
    assert lost["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "pyproject.toml"
    assert "interpret/accuracy/lost" in lost["message"]["text"]


def test_a_green_run_has_no_result(green):
    assert parsed(green)["results"] == []


@pytest.mark.parametrize(("status", "level"), [("fail", "error"), ("error", "error"), ("inconclusive", "warning")])
def test_the_level_follows_from_the_status(accuracy_verdict, status, level):
    (result,) = parsed(Run({}, (), (accuracy_verdict("a", "x", 2.0, Status(status)),)))["results"]
    assert result["level"] == level


def test_an_alert_stays_the_same_while_its_number_and_worst_case_change(accuracy_verdict):
    bad = accuracy_verdict("rms_norm", "a", 2.0, Status.FAIL)
    others = (
        replace(bad, subject="rms_norm[b]", value=3.0),
        replace(bad, subject="sample[a]"),
        replace(bad, lane="gpu"),
    )
    seen = [parsed(Run({}, (), (one,)))["results"][0]["partialFingerprints"]["braidcheck/v1"] for one in (bad, *others)]
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


def test_hostile_text_is_one_line_without_a_link(hostile):
    link = replace(hostile.verdicts[0], message="see [here](https://evil.example)\nand more")
    for run in (hostile, Run({}, (), (link,))):
        for result in parsed(run)["results"]:
            assert not re.search(r"\]\(|\n", result["message"]["text"])


def test_the_shape_can_be_missed(broken):
    body = json.loads(sarif.render(broken))
    del body["runs"][0]["results"][0]["message"]
    body["runs"][0]["results"][1]["ruleIndex"] = "0"
    assert differences(body, SHAPE) == ["$.runs[0].results[0]", "$.runs[0].results[1].ruleIndex"]
