"""A Run as JUnit and as annotations: every verdict, at the kernel's file and line, whatever is in its text."""

from xml.etree import ElementTree

import pytest

from braidcheck import environment
from braidcheck.report import annotations, junit, source
from braidcheck.result import Run, Status


def test_every_verdict_is_a_case_and_a_missing_one_an_error(broken):
    root = ElementTree.fromstring(junit.render(broken))
    assert len(root.findall(".//testcase")) == len(broken.verdicts) + 1
    counts = {
        suite.get("name"): [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] for suite in root
    }
    assert counts == {
        "accuracy": ["6", "2", "0", "1"],
        "coherence": ["3", "0", "2", "0"],
        "layers": ["2", "0", "0", "0"],
        "no verdict": ["1", "0", "1", "0"],
    }
    case = root.find(".//testcase[@name='qkv_rope[b]']")
    assert case.get("file") == "braidcheck/kernels/qkv_rope/kernel.py"
    said = case.find("failure").text
    assert "qkv_rope is 9.0 times its bound" in said
    assert "braidcheck gate --op qkv_rope -k 'qkv_rope[b]'" in said


@pytest.mark.parametrize("op", ["qkv_rope", "fused_attention"])
def test_the_line_is_that_of_the_kernel(verdict, op):
    path, line = source.place(verdict("accuracy", f"{op}[case]"))
    lines = (environment.PACKAGE.parent / path).read_text().splitlines()
    assert "@triton.jit" in lines[line - 2]
    assert lines[line - 1].startswith("def ")


@pytest.mark.parametrize("subject", ["nothing_known[case]", "../../etc/passwd[x]", "qkv_rope/../x[a]"])
def test_what_is_no_kernel_has_no_place(verdict, subject):
    assert source.place(verdict("accuracy", subject)) is None


def test_hostile_text_can_be_read_again(hostile):
    root = ElementTree.fromstring(junit.render(hostile))
    assert "<script>" in root.find(".//failure").text


def test_annotations_name_file_and_line_and_are_one_line_each(broken, hostile):
    first, second = annotations.lines(broken)
    line = source.place(broken.verdicts[4])[1]
    assert first.startswith(
        f"::error file=braidcheck/kernels/qkv_rope/kernel.py,line={line},title=fail accuracy qkv_rope[b]::"
    )
    assert first.endswith("qkv_rope is 9.0 times its bound%0Abraidcheck gate --op qkv_rope -k 'qkv_rope[b]'")
    assert second.startswith("::error title=error coherence nano%3A kl%2C nano%3A nll::it broke")
    assert all("\n" not in line for line in annotations.lines(hostile))


def test_annotations_are_few_and_the_undecided_warn(accuracy_verdict):
    made = [accuracy_verdict(f"op{n}", "a", 2.0, Status.FAIL) for n in range(30)] + [
        accuracy_verdict("last", "a", 9.0, Status.INCONCLUSIVE)
    ]
    assert len(list(annotations.lines(Run({}, (), tuple(made))))) == annotations.MAX_ANNOTATIONS
    (only,) = annotations.lines(Run({}, (), tuple(made[-1:])))
    assert only.startswith("::warning ")


def test_no_more_annotations_than_github_shows(accuracy_verdict):
    run = Run({}, (), tuple(accuracy_verdict(f"op{n}", "a", 2.0, Status.FAIL) for n in range(11)))
    assert len(list(annotations.lines(run))) == 10


def test_each_element_has_a_line(broken):
    assert len(junit.render(broken).splitlines()) > 2 * len(broken.verdicts)


def test_an_annotation_without_a_command_is_its_message(accuracy_verdict):
    (line,) = annotations.lines(Run({}, (), (accuracy_verdict("op", "a", 2.0, Status.FAIL),)))
    assert line.endswith("::op is 2.0 times its bound")
