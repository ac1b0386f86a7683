"""The settings of a gate run: one frozen value that travels from the command line to every worker."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from braidcheck import external_ops

NANO = "nano"
CORPUS = "corpus"
PRODUCTION = "production"
ATTENTIONS = (PRODUCTION, "separated", "fused", "fully_fused", "fully_fused_raw")  # the model's attention backends
REFERENCE = "reference"  # the separated backend with every op's reference in place of its kernel


@dataclass(frozen=True)
class Settings:
    """The settings of one gate run.

    ``lane`` is ``interpret`` or ``gpu``; ``out`` the folder that the run writes to; ``model`` the embedded ``nano``,
    a checkpoint directory or a hub id; ``dataset`` the embedded ``corpus``, ``wikitext`` or a path; ``attention`` the
    fusion that the model runs; ``ops`` the ops to evaluate, empty for everything; ``gpus`` the ids (as in
    CUDA_VISIBLE_DEVICES) that workers may take; ``against`` the commit that kernels are timed against, empty for the
    merge-base with the default branch, for at most so many ``minutes``; ``kernels`` the folder of the package whose
    kernels and engine are evaluated, empty for this one's own; ``shard`` the part "K/N" of the suite to run, empty for
    all of it; ``durations`` the run.json that says how long items take, empty for the shipped table; ``budget`` the
    minutes that the run may take, until ``deadline`` (seconds since 1970), 0 for any, with what was ``changed`` first;
    ``broken`` the ops whose import would end a worker, each with the reason.
    """

    lane: str
    out: str
    model: str = NANO
    revision: str | None = None
    dataset: str = CORPUS
    attention: str = PRODUCTION
    ops: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    against: str = ""
    minutes: float = 20.0
    kernels: str = ""
    shard: str = ""
    durations: str = ""
    budget: float = 0.0
    deadline: float = 0.0
    changed: tuple[str, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()

    @property
    def device(self) -> str:
        """The torch device of this lane."""
        return "cuda" if self.lane == "gpu" else "cpu"

    @property
    def model_name(self) -> str:
        """The model's name in verdicts: nano, a hub id, or the last part of a directory."""
        path = Path(self.model).expanduser()
        return path.resolve().name if self.model != NANO and path.is_dir() else self.model

    def command(self, *extra: str) -> str:
        """The shell command that runs the same gate again, with ``extra`` arguments."""
        words = ["braidcheck", "gate", "--lane", self.lane, *external_ops.options()]
        for option, value, default in (
            ("--model", self.model, NANO),
            ("--revision", self.revision, None),
            ("--dataset", self.dataset, CORPUS),
            ("--attention", self.attention, PRODUCTION),
            ("--against", self.against, ""),
            ("--kernels", self.kernels, ""),
        ):
            if value is not None and value != default:
                words += [option, value]
        return shlex.join([*words, *extra])

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The settings that ``to_json`` wrote."""
        body = json.loads(text)
        broken = tuple((op, reason) for op, reason in body["broken"])
        return cls(**{**body, **{name: tuple(body[name]) for name in ("ops", "gpus", "changed")}, "broken": broken})
