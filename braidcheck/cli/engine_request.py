"""What ``braidcheck gate --engine`` was asked for: its options, and the command that repeats it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from braidcheck.engines import specs
from braidcheck.settings import CORPUS, NANO

PANEL = "Your own engine"
TIMEOUT_S = 120.0
MINUTES = 20.0  # of timing

EngineOption = Annotated[
    str, typer.Option(help="FILE.py:factory, package.module:factory or a server's URL", rich_help_panel=PANEL)
]
PythonOption = Annotated[str, typer.Option(help="the engine's Python; default: this one", rich_help_panel=PANEL)]
TimeoutOption = Annotated[
    float, typer.Option(min=0.1, metavar="SECONDS", help="for the factory and each request", rich_help_panel=PANEL)
]
MemoryOption = Annotated[
    float,
    typer.Option(min=0, metavar="GIB", help="memory limit; default: 80% of the free memory", rich_help_panel=PANEL),
]
SpeedOption = Annotated[bool, typer.Option("--speed", help="time the engine too", rich_help_panel=PANEL)]
AgainstOption = Annotated[
    str, typer.Option(help="compare its speed with this engine, or with an earlier run.json", rich_help_panel=PANEL)
]
AgainstPythonOption = Annotated[
    str, typer.Option(help="that engine's Python; default: that of --engine-python", rich_help_panel=PANEL)
]
NameOption = Annotated[str, typer.Option(help="the model's name on the server", rich_help_panel=PANEL)]


@dataclass(frozen=True)
class EngineRequest:
    """The request of the command line."""

    engine: str
    python: str
    timeout_s: float
    memory_gib: float
    model_name: str
    model: str
    revision: str | None
    dataset: str
    speed: bool = False
    against: str = ""
    against_python: str = ""
    minutes: float = MINUTES

    @property
    def timed(self) -> bool:
        """Whether the engine is timed."""
        return self.speed or bool(self.against)

    @property
    def base(self) -> EngineRequest | None:
        """The engine to compare its speed with; None without one, or for an earlier Run."""
        if not self.against or self.against.endswith(".json"):
            return None
        return replace(self, engine=self.against, python=self.against_python or self.python)

    def command(self) -> str:
        """The command that repeats this, without a password that the address may contain."""
        words = ["braidcheck", "gate", "--engine", specs.without_password(self.engine)]
        for option, value, default in (
            ("--engine-python", self.python, ""),
            ("--engine-timeout", f"{self.timeout_s:g}", f"{TIMEOUT_S:g}"),
            ("--engine-memory", f"{self.memory_gib:g}", "0"),
            ("--model-name", self.model_name, ""),
            ("--model", self.model, NANO),
            ("--revision", self.revision, None),
            ("--dataset", self.dataset, CORPUS),
            ("--against-engine", specs.without_password(self.against), ""),
            ("--against-python", self.against_python, ""),
            ("--minutes", f"{self.minutes:g}", f"{MINUTES:g}"),
        ):
            words += [option, str(value)] if value is not None and value != default else []
        return shlex.join([*words, "--speed"] if self.speed else words)
