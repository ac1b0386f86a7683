"""docs/paged-attention.md: its commands are run, and what they print is compared."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from braidcheck.cli import main
from tests.docs.test_tutorial import commands, is_shown, project  # noqa: F401  (project is a fixture)

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"^```console\n(.*?)^```$", (DOCS / "paged-attention.md").read_text(), re.MULTILINE | re.DOTALL)
RUN = [(command, shown) for block in BLOCKS for command, shown in commands(block) if command.startswith("braidcheck ")]


@pytest.mark.parametrize(("command", "shown"), RUN, ids=["right", "one key too many"])
def test_the_page_shows_what_check_prints(project, capfd, command, shown):  # noqa: F811
    shutil.copy(DOCS / "examples" / "paged_decode.py", project / "own.py")
    assert main(shlex.split(command)[1:]) == (0 if "\nPASS" in shown else 1)
    said = capfd.readouterr().out
    assert is_shown(shown, said), f"$ {command}\n{said}"
