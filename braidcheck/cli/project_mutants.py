"""``braidcheck mutants --source FILE --test COMMAND``: plants faults in another project's kernels, for its tests to
find."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from braidcheck import checksum, environment
from braidcheck.cli.gate import Lane
from braidcheck.errors import NotAvailable, UserError
from braidcheck.mutants.mutant import Mutant
from braidcheck.mutants.project.run import ProjectRequest, ProjectRun, Result
from braidcheck.report import project_mutants as report
from braidcheck.report.progress import Progress
from braidcheck.result import json_by_line, write_atomically

MAX_JOBS_PER_GPU = 4  # processes: their memory use is unknown
SCHEMA = "project mutants 1"


def project_mutants(
    sources: list[Path], test: str, lane: Lane, jobs: int | None, seed: int, limit: int | None, save: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Run the mutants, print and save what the tests found. Exit code 0 even if mutants survive."""
    if not sources or not test:
        raise UserError("--source FILE and --test COMMAND belong together: give both")
    for source in sources:
        if not source.is_file():
            raise UserError(f"--source {source}: no such file")
    chosen = _lane(lane)
    request = ProjectRequest(sources, test, chosen, jobs or _jobs(chosen), seed, limit)

    def keep(result: Result) -> None:
        if save is not None:
            write_atomically(save, dump(result))

    with Progress("mutants") as progress:
        project = ProjectRun(request, progress, keep)
        project.run()
        _find_witnesses(project, progress)
    result = project.result()
    keep(result)
    if as_json:
        print(dump(result), end="")
    else:
        report.show(result, save)
    return 0


def dump(result: Result) -> str:
    """The result as JSON with one line per mutant."""
    body = {key: value for key, value in result.items() if key != "mutants"}
    return json_by_line(body, "mutants", result["mutants"], SCHEMA)


def load(text: str) -> Mapping[str, Any]:
    """Read what ``dump`` wrote. Raises ValueError for another file."""
    result: Mapping[str, Any] = checksum.opened(text, SCHEMA)
    if not {"test", "sources", "mutants", "generated"} <= result.keys():
        raise ValueError("it has no test, sources and mutants")
    return result


def _find_witnesses(project: ProjectRun, progress: Progress) -> None:
    """For each survivor in a file that an op of the project runs, find an input on which that op differs."""
    from braidcheck.mutants import affected_ops

    ops = affected_ops.external()
    homes = {path.resolve(): name for files in ops.values() for name, path in files.items()}
    alive = [mutant for mutant in project.chosen if project.rows[mutant.id]["witness"]]
    mutants = [
        Mutant(
            mutant.id, "generated", "", mutant.description, name, affected_ops.ops(name), mutant.text,
            family=mutant.family,
        )
        for mutant in alive
        if (name := homes.get(project.root / mutant.file))
    ]  # fmt: skip
    if not mutants or environment.why_no_triton():
        return
    from braidcheck.mutants.runner import Runner

    progress("looking for witnesses")
    witnesses = Runner(project.request.lane, progress).witnesses(mutants, project.request.jobs)
    for name, witness in witnesses.items():
        project.rows[name]["witness"] = witness


def _jobs(lane: str) -> int:
    count = environment.cpus()
    return min(count, MAX_JOBS_PER_GPU * len(environment.gpus())) if lane == "gpu" else count


def _lane(lane: Lane) -> str:
    """The lane in which the command runs kernels; the command's own Python must have Triton."""
    no_gpu = environment.why_no_gpu()
    if lane is Lane.gpu and no_gpu:
        raise NotAvailable(f"--lane gpu cannot run here: {no_gpu}; use --lane interpret")
    return "interpret" if lane is Lane.interpret or no_gpu else "gpu"
