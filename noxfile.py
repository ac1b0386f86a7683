"""The project's sessions: gate (the main job), protect, tests, tests_portable, soak, mutants, gpu_tests, lint, ..."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["gate"]

RUN = "braidcheck-out/run.json"
GPU_RECORD = "tools/gpu_suite_record.py"
SITE = "braidcheck-out/site"
INPUTS = ("pyproject.toml", "constraints.txt")
ENGINES = {  # what the gate must say of each, on nano: 0 it passes, 1 it fails
    "ctranslate2": {"float32": 0, "int16": 1, "int8": 1},
    "llama_cpp": {"f32": 0, "f16": 0, "bf16": 0, "q8_0": 1, "q4_0": 1},
    "onnxruntime_genai": {"fp32": 0, "int4": 1},
}
ADAPTERS = {  # libraries whose functions tools/adapters gives the arguments of our ops, each in its own environment
    "liger": ("liger-kernel==0.8.5",),
    "fla": ("flash-linear-attention==0.6.0", "fla-core==0.6.0", "einops"),
    "conch": ("conch-triton-kernels==1.3",),
    "hf": ("transformers",),
}
SHUTDOWN_GRACE_S = 90.0  # seconds in which an interrupted run may still write what it has
python = sys.executable  # until ``install`` has made an environment; with --no-venv it stays


@nox.session
def install(session: nox.Session) -> None:
    """The environment that gate, tests and most sessions share; installed again only when what it holds has changed."""
    if session.venv_backend == "none":
        session.log("no environment: taking what is installed here")
        return
    global python
    python = os.path.join(session.bin, "python")
    wanted = hashlib.sha256(b"".join(Path(name).read_bytes() for name in INPUTS)).hexdigest()
    stamp = Path(session.virtualenv.location, "installed")
    if not stamp.exists() or stamp.read_text() != wanted:
        tests = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test")
        session.install("--constraint", "constraints.txt", "--editable", ".[golden,gpu,report]", *tests)
        stamp.write_text(wanted)


@nox.session(venv_backend="none", requires=["install"])
def gate(session: nox.Session) -> None:
    """Evaluate the kernels and the embedded model, on the GPU if there is one: the main job."""
    braidcheck(session, "gate", *session.posargs)


@nox.session(venv_backend="none", requires=["install"])
def protect(session: nox.Session) -> None:
    """The base's oracles on this change's kernels: nox -s protect -- origin/main."""
    braidcheck(session, "protect", *session.posargs)


@nox.session(venv_backend="none", requires=["install"])
def tests(session: nox.Session) -> None:
    """The project's own tests, without a GPU."""
    # Tests of one file stay with one worker, which makes their fixtures once, until another has nothing left to do.
    run(session, "-m", "pytest", "-n", "auto", "--dist", "worksteal", *session.posargs)


@nox.session(venv_backend="none", requires=["install"])
def tests_portable(session: nox.Session) -> None:
    """The tests of computed numbers on the code that torch and numpy have for other CPUs, in 26 settings."""
    run(session, "tests/portable.py", *session.posargs)


@nox.session(venv_backend="none", requires=["install"])
def soak(session: nox.Session) -> None:
    """Kernels and equivalent implementations under 1,000 fresh inputs per op: none may use half of its bound; hours on
    a CPU."""
    braidcheck(session, "soak", *session.posargs)


@nox.session(venv_backend="none", requires=["install"])
def fuzz(session: nox.Session) -> None:
    """Drawn calls of every op, damaged files of every kind, killed writers of a history; hours on a CPU."""
    run(session, "-m", "tools.fuzz_ops", *session.posargs)
    run(session, "-m", "tools.fuzz_files", "--count", "1000")
    run(session, "-m", "tools.kill_history")


@nox.session(venv_backend="none", requires=["install"])
def mutants(session: nox.Session) -> None:
    """Deliberate faults, one at a time: which gate catches each, and which none does."""
    braidcheck(session, "mutants", *session.posargs)


@nox.session(venv_backend="none", requires=["install"])
def evaluation_mutants(session: nox.Session) -> None:
    """Deliberate faults in what evaluates (comparison, gates, goldens, merging, trend, protection, reports):
    do the project's own tests notice each?"""
    run(session, "-m", "tools.evaluation_mutants.run", *session.posargs)


@nox.session(venv_backend="none")
def gpu_tests(session: nox.Session) -> None:
    """The gate and the GPU tests on all GPUs of this machine, with the torch that is here: nothing is installed."""
    try:
        braidcheck(session, "gate", "--lane", "gpu", "--tests", "tests", *session.posargs)
    finally:
        if not session.posargs and Path(RUN).exists():  # a part of the suite vouches for nothing
            run(session, GPU_RECORD, "write", RUN, success_codes=[0, 2])  # 2: a part of the suite, or no Run


@nox.session(venv_backend="none")
def calibrate(session: nox.Session) -> None:
    """How often the paired gate is wrong on this machine's GPU: A/A pairs and slow-downs put into the kernels."""
    run(session, "-m", "tools.calibration.calibrate", *session.posargs)


@nox.session(venv_backend="none")
def tune(session: nox.Session) -> None:
    """Search how the decode kernels are best cut on this machine's GPU; what it prints is pinned by hand."""
    run(session, "-m", "tools.tune", *session.posargs)


@nox.session(venv_backend="none")
def sanitize(session: nox.Session) -> None:
    """One case per op under compute-sanitizer, on a GPU; racecheck sees races in shared memory only."""
    # PyTorch's allocator hands out parts of large blocks, past whose end nothing is out of bounds.
    env = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    tests = (python, "-m", "pytest", "-m", "gpu", "-k", "bound", "tests/kernels/test_gpu.py")
    for tool in ("memcheck", "racecheck"):
        session.run("compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *tests, external=True, env=env)


@nox.session(venv_backend="none", requires=["install"])
def report_tests(session: nox.Session) -> None:
    """The HTML report in headless Chromium, which is installed where Debian's apt-get may do so."""
    if not chromium() and shutil.which("apt-get") and os.geteuid() == 0:
        session.run("apt-get", "update", external=True, silent=True, success_codes=[0, 100])
        session.run("apt-get", "install", "-y", "--no-install-recommends", "chromium", external=True, silent=True)
    if not chromium():
        session.error("no Chromium here; on Debian: apt-get install chromium")
    add_group(session, "browser")
    run(session, "-m", "pytest", "-m", "browser", "tests/report", *session.posargs)


@nox.session(venv_backend="none", requires=["install"])
def package(session: nox.Session) -> None:
    """The wheels and the sdist of a release, built twice and compared, and tried without the source: in dist/."""
    add_group(session, "package")
    run(session, "-m", "tools.package", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and the commonest mistakes; workflows that untrusted code could misuse."""
    if session.venv_backend != "none":
        session.install(*nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "lint"))
    # Stale is no error of style: whoever has no GPU cannot mend it, and the GPU workflow decides.
    session.run("python", GPU_RECORD, "check", external=True, success_codes=[0, 1])
    session.run("ruff", "check", ".", external=True)
    session.run("ruff", "format", "--check", ".", external=True)
    session.run("mypy", external=True)
    session.run("shellcheck", ".github/append.sh", external=True)
    written = sorted(map(str, Path("braidcheck/cli/templates").glob("*.yml")))  # by braidcheck init
    session.run("actionlint", external=True)  # with shellcheck on the steps
    session.run("actionlint", *written, external=True)
    audit = ("zizmor", "--offline", "--persona", "pedantic", "--no-progress")
    session.run(*audit, ".github/workflows", "action.yml", *written, external=True)


@nox.session(requires=["install"])
def docs(session: nox.Session) -> None:
    """The documentation site, in braidcheck-out/site/html: strict about links, without a request to anywhere."""
    if session.venv_backend != "none":
        session.install(*nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "docs"))
    run(session, "-m", "tools.site.assemble", f"{SITE}/pages")
    session.run("codespell", "README.md", "CONTRIBUTING.md", "DESIGN.md", "SECURITY.md", "docs", external=True)
    env = {"PYTHONPATH": ".", "NO_MKDOCS_2_WARNING": "true"}  # "tools.site", which the build's hooks lie in
    session.run("mkdocs", "build", external=True, env=env)
    run(session, "-m", "tools.site.check", f"{SITE}/html")


@nox.session(requires=["install"])
@nox.parametrize("engine", list(ENGINES))
def engines(session: nox.Session, engine: str) -> None:
    """Foreign engines, each in an environment of its own, on the embedded model: "engines(engine='ctranslate2')"."""
    if session.venv_backend == "none":
        session.skip("each engine has an environment of its own")
    session.install(*nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), f"engine-{engine}"))
    there = os.path.join(session.bin, "python")
    for factory, expected in ENGINES[engine].items():
        named, out = f"braidcheck.engines.{engine}:{factory}", f"braidcheck-out/engines/{engine}-{factory}"
        words = ("gate", "--engine", named, "--engine-python", there, "--out", out)
        run(session, "-m", "braidcheck", *words, success_codes=[expected])


@nox.session
@nox.parametrize("library", list(ADAPTERS))
def adapters(session: nox.Session, library: str) -> None:
    """Functions of other kernel libraries, each in an environment of its own: "adapters(library='liger')"."""
    if session.venv_backend == "none":
        session.skip("each library has an environment of its own")
    session.install("--constraint", "constraints.txt", "--editable", ".[golden]")
    session.install("--no-deps", *ADAPTERS[library])  # torch and triton stay those of the constraints
    there = os.path.join(session.bin, "python")
    with session.chdir("tools/adapters"):
        session.run(
            there, "-m", "braidcheck", "check", "--all", f"ops_{library}.py", *session.posargs, success_codes=[0, 1]
        )


@nox.session(venv_backend="none", requires=["install"])
def rehearse(session: nox.Session) -> None:
    """The shell steps of all workflows on this machine, hostile artifacts included; "--all" for what takes minutes."""
    run(session, "tests/workflows/rehearse.py", *session.posargs)


@nox.session(requires=["install"])
def trend_benchmark(session: nox.Session) -> None:
    """How often the trend detector is wrong and how late, beside other rules; Otava, if it installs, in an
    environment of its own."""
    words = list(session.posargs)
    if session.venv_backend != "none":
        try:
            session.install("apache-otava==0.8.0")
            words += ["--otava", os.path.join(session.bin, "python")]
        except nox.command.CommandFailed:
            session.log("Apache Otava could not be installed: it will not run")
    run(session, "-m", "tools.trend.benchmark", *words)


@nox.session(venv_backend="none", requires=["install"])
def nano(session: nox.Session) -> None:
    """Train the embedded model again from its seed; quick on a GPU only."""
    run(session, "-m", "tools.train_nano", *session.posargs)


def chromium() -> str | None:
    """Where Chromium is, if it is."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)


def add_group(session: nox.Session, name: str) -> None:
    """Install a dependency group into the shared environment; with --no-venv nothing is installed."""
    if python != sys.executable:
        group = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), name)
        run(session, "-m", "pip", "install", "--quiet", "--constraint", "constraints.txt", *group)


def run(session: nox.Session, *arguments: str, success_codes: list[int] | None = None) -> None:
    """Run the shared environment's Python, from the source tree even where nothing is installed."""
    session.run(
        python, *arguments, external=True, success_codes=success_codes or [0], interrupt_timeout=SHUTDOWN_GRACE_S
    )  # fmt: skip


def braidcheck(session: nox.Session, *arguments: str) -> None:
    """Run the command line; nox knows only 0 and 1, so a code that says more ends nox with it."""
    try:
        run(session, "-m", "braidcheck", *arguments)
    except nox.command.CommandFailed as failed:
        if failed.return_code not in (None, 1):
            raise SystemExit(failed.return_code) from None
        raise
