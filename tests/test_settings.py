"""Settings travel as JSON and say the command that repeats the run."""

import shlex

from braidcheck.settings import Settings


def test_settings_travel():
    made = Settings("gpu", "out", "some/model", "v1", "wikitext", "fused", ("a", "b"), ("0",))
    assert Settings.from_json(made.to_json()) == made


def test_the_command_names_only_what_was_chosen():
    assert Settings("gpu", "out").command() == "braidcheck gate --lane gpu"
    words = shlex.split(Settings("interpret", "out", "my model", "v1", "wikitext", "fused").command("-k", "a[b]"))
    chosen = {"--lane": "interpret", "--model": "my model", "--revision": "v1", "--dataset": "wikitext"}
    chosen |= {"--attention": "fused", "-k": "a[b]"}
    assert words[2:] == [word for pair in chosen.items() for word in pair]


def test_models_have_short_names(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    names = [Settings("gpu", "", model).model_name for model in ("nano", "Qwen/Qwen3-0.6B", "mine", "./mine/")]
    assert names == ["nano", "Qwen/Qwen3-0.6B", "mine", "mine"]
