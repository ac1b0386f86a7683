"""What comes back from the items of a suite."""

from pathlib import Path

from tests.plugin.conftest import statuses


def test_every_status_comes_back_and_what_an_item_raises_is_an_error(evaluate, tmp_path):
    run = evaluate("""
        @pytest.fixture
        def broken(what):
            if what == "fixture":
                raise RuntimeError("no fixture")

        @pytest.mark.parametrize("what", [*map(str, Status), "bug", "user", "fixture", "other"])
        def test_item(what, broken):
            if what == "bug":
                raise ZeroDivisionError("by zero\\nmore")
            if what == "user":
                raise UserError("do this instead")
            return verdict("somebody") if what == "other" else verdict(what, what)
    """)
    assert statuses(run) == {
        **{name: name for name in ("pass", "fail", "error", "inconclusive", "skipped")},
        **dict.fromkeys(("bug", "user", "fixture", "other"), "error"),
    }
    said = {verdict.subject: verdict for verdict in run.verdicts}
    assert said["bug"].message == "ZeroDivisionError: by zero."
    assert said["user"].message == "do this instead."
    assert "by zero" in Path(said["bug"].metrics["traceback"]).read_text()
    assert "returned the verdict" in said["other"].message
    assert said["fail"].lane == "interpret"
    assert said["fail"].reproduce == "braidcheck gate --lane interpret -k 'demo and fail'"
    assert run.missing == ()
    assert run.exit_code == 1
    junit = (tmp_path / "out" / "correctness" / "junit.xml").read_text()
    assert 'tests="9"' in junit


def test_a_suite_that_cannot_be_collected_is_an_error(evaluate):
    run = evaluate("import no_such_module")
    assert [str(verdict.status) for verdict in run.verdicts] == ["error"]
    assert "no_such_module" in run.verdicts[0].message
    assert run.exit_code == 3


def test_long_observations_say_how_far_they_are(evaluate):
    run = evaluate("""
        @pytest.mark.parametrize("what", ["a", "b"])
        def test_item(what, progress, settings):
            file = Path(settings.out) / "observing.txt"
            assert not file.exists()
            progress("document 1 of 3")
            assert file.read_text() == "document 1 of 3"
            return verdict(what)
    """)
    assert statuses(run) == {"a": "pass", "b": "pass"}


def test_timeouts_end_an_item(evaluate):
    run = evaluate("""
        import time

        @pytest.mark.timeout(0.5)
        @pytest.mark.parametrize("what", ["hangs"])
        def test_item(what):
            time.sleep(60)
    """)
    assert statuses(run) == {"hangs": "error"}
    assert "imeout" in run.verdicts[0].message
