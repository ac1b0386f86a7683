"""A Run as JUnit: one suite per gate, one case per verdict, with the kernel's file and line; a missing verdict is an
error."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from braidcheck.report.rows import headroom, reading
from braidcheck.report.source import place
from braidcheck.result import Run, Status, Verdict

FILE = "junit.xml"
# Characters that XML 1.0 cannot contain, not even escaped.
_UNSPEAKABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
KINDS = {
    Status.FAIL: "failure",
    Status.ERROR: "error",
    Status.INCONCLUSIVE: "error",
    Status.SKIPPED: "skipped",
}


def render(run: Run) -> str:
    """The whole document."""
    root = Element("testsuites", name="braidcheck")
    gates = dict.fromkeys(verdict.gate for verdict in run.verdicts)
    for gate in gates:
        suite = SubElement(root, "testsuite", name=_text(gate))
        for verdict in (verdict for verdict in run.verdicts if verdict.gate == gate):
            _case(suite, verdict)
    if run.missing:
        suite = SubElement(root, "testsuite", name="no verdict")
        for name in run.missing:
            case = SubElement(suite, "testcase", classname="no verdict", name=_text(name))
            SubElement(case, "error", message="expected, but no verdict was recorded", type="missing")
    for suite in root:
        _count(suite)
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True)


def _case(suite: Element, verdict: Verdict) -> None:
    name = "/".join(part for part in (verdict.lane, verdict.gate) if part)
    case = SubElement(
        suite, "testcase", classname=_text(name), name=_text(verdict.subject), time=f"{verdict.seconds:.3f}"
    )  # fmt: skip
    if location := place(verdict):
        case.set("file", location[0])
        case.set("line", str(location[1]))
    if kind := KINDS.get(verdict.status):
        value, limit, unit = reading(verdict)
        facts = f"{value} ({limit}) {unit}, headroom {headroom(verdict)}" if value else ""
        element = SubElement(case, kind, message=_text(verdict.message), type=str(verdict.status))
        element.text = _text("\n".join(part for part in (verdict.message, facts, verdict.reproduce) if part))


def _count(suite: Element) -> None:
    suite.set("tests", str(len(suite)))
    for kind in ("failure", "error", "skipped"):
        counted = "skipped" if kind == "skipped" else f"{kind}s"
        suite.set(counted, str(len(suite.findall(f"testcase/{kind}"))))


def _text(text: str) -> str:
    return _UNSPEAKABLE.sub("\ufffd", text)
