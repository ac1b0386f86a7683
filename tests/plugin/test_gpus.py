"""How the workers of a gate run share GPUs and their memory."""

import pytest

from braidcheck.cli import pytest_runner as launcher
from tests.plugin.conftest import statuses

GPU_ITEM = """
@pytest.mark.parametrize("what", ["a", "killer", "b", "c"])
def test_item(what):
    if what == "killer" and one_worker:
        os._exit(11)
    (Path(__file__).parent / f"gpu-{os.environ['CUDA_VISIBLE_DEVICES']}-{os.getpid()}").touch()
    return verdict(what)
"""


def test_each_worker_has_a_gpu_of_its_own(evaluate):
    evaluate("one_worker = False" + GPU_ITEM, workers=2, gpus=("3", "7"))
    assert sorted(file.name.split("-")[1] for file in launcher.SUITE.glob("gpu-*")) == ["3", "7"]


def test_workers_share_gpus_evenly(evaluate):
    evaluate("one_worker = False" + GPU_ITEM, workers=4, gpus=("3", "7"))
    assert sorted(file.name.split("-")[1] for file in launcher.SUITE.glob("gpu-*")) == ["3", "3", "7", "7"]


def test_a_worker_that_died_hands_its_gpu_on(evaluate):
    run = evaluate("one_worker = True" + GPU_ITEM, gpus=("3",))
    assert statuses(run) == {"a": "pass", "killer": "error", "b": "pass", "c": "pass"}
    assert [file.name.split("-")[1] for file in launcher.SUITE.glob("gpu-*")] == ["3", "3"]


@pytest.mark.parametrize("settings", [{}, {"lane": "gpu", "gpus": ("0",)}], ids=["own", "shared"])
def test_a_worker_with_a_broken_gpu_context_reports_and_is_replaced(evaluate, settings):
    run = evaluate(
        """
        class Cuda:
            broken = False
            is_initialized = staticmethod(lambda: True)
            def synchronize():
                if Cuda.broken:
                    raise RuntimeError("CUDA error: an illegal memory access was encountered")
            reset_peak_memory_stats = empty_cache = synchronize
            max_memory_allocated = staticmethod(lambda: 0)

        sys.modules["torch"] = types.SimpleNamespace(cuda=Cuda)

        @pytest.fixture
        def observed(what):
            if what.startswith("breaks"):
                Cuda.broken = True
            if what == "breaks in setup":
                raise RuntimeError("CUDA error")

        @pytest.mark.parametrize("what", ["before", "breaks", "between", "breaks in setup", "after"])
        def test_item(what, observed):
            if what == "breaks":
                return verdict(what, Status.FAIL)
            return verdict(what, Status.FAIL if Cuda.broken else Status.PASS)
    """,
        **settings,
    )
    expected = {"breaks": "fail", "breaks in setup": "error"}
    assert statuses(run) == dict.fromkeys(("before", "between", "after"), "pass") | expected
    assert "the worker was replaced" in {v.subject: v.message for v in run.verdicts}["breaks in setup"]


OUT_OF_MEMORY = """
class OutOfMemoryError(RuntimeError):
    pass

@pytest.mark.parametrize("what", ["a", "large", "b", "c"])
def test_item(what):
    with open(Path(__file__).parent / "ran", "a") as file:
        file.write(f"{what} ")
    if what == "large" and (ALWAYS or (Path(__file__).parent / "ran").read_text().count("large") == 1):
        raise OutOfMemoryError("Tried to allocate 2.00 GiB")
    return verdict(what)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_out_of_memory_item_is_rerun_alone(evaluate, workers):
    run = evaluate("ALWAYS = False" + OUT_OF_MEMORY, lane="gpu", gpus=("0",), workers=workers)
    assert statuses(run) == dict.fromkeys(("a", "large", "b", "c"), "pass")
    assert sorted((launcher.SUITE / "ran").read_text().split()) == ["a", "b", "c", "large", "large"]


def test_an_item_that_has_too_little_gpu_memory_alone_is_an_error(evaluate):
    run = evaluate("ALWAYS = True" + OUT_OF_MEMORY, lane="gpu", gpus=("0",))
    assert statuses(run) == {"a": "pass", "large": "error", "b": "pass", "c": "pass"}
    assert "Tried to allocate" in {v.subject: v.message for v in run.verdicts}["large"]
