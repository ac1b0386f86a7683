"""What all tests share: the lane of this process, one thread each, and what "equal up to rounding" means."""

from __future__ import annotations

import copy
import gc
import math
import os
import signal
import sys

import pytest

from tests.forked.installed import REAL, forked_python

# Nothing that imports torch is imported up here: it would read the environment before that is set.

# The interpreter's blocks are small: a second thread of numpy's only waits for the first, up to 80 times as long. Set
# here, because the conftest.py of a folder that is named on the command line imports numpy before pytest_configure.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# torch returns a large tensor's memory to the system, whose pages of 4 KB it would then be given again one by one.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def pytest_configure(config):
    # Read when Triton is imported, which is after this.
    if config.option.markexpr != "gpu":
        os.environ["TRITON_INTERPRET"] = "1"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in a shell's background: the processes of tests would inherit that no interrupt ends them.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None) and hasattr(config, "cache"):
        # Hundreds of processes of tests would compile the package again, each.
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(config.cache.mkdir("bytecode"))
        sys.dont_write_bytecode = False
    starts_workers = not hasattr(config, "workerinput") and config.getoption("numprocesses", None)
    if sys.platform == "linux" and config.option.markexpr != "gpu" and not starts_workers:
        server = forked_python()
        config.forked = server.__enter__()
        config.add_cleanup(lambda: server.__exit__(None, None, None))


@pytest.fixture(scope="module")
def fresh_python():
    """``sys.executable`` is the interpreter itself, for the module from here on: where it matters what a process is
    given when it starts, who started it, or what it imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", REAL)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What collection makes stays: the garbage collector need not look at it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items):
    # A tenth of all seconds in one test: the other workers would wait for it in the end.
    items.sort(key=lambda item: item.name != "test_every_step_does_what_it_should")


@pytest.fixture(scope="session")
def float64():
    """A context in which all float32 that torch is asked for is float64: HF's norms and softmax ask for float32 even
    in a float64 model."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Float64(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function is torch.Tensor.float:
                function = torch.Tensor.double
            args = [torch.float64 if arg is torch.float32 else arg for arg in args]
            kwargs = {name: torch.float64 if arg is torch.float32 else arg for name, arg in (kwargs or {}).items()}
            return function(*args, **kwargs)

    return Float64


@pytest.fixture(scope="session")
def hf_logits(float64):
    """HF's logits [T,V] of a float32 model for ids [T]: in float64 throughout, and in float32 as HF computes them."""
    import torch

    @torch.no_grad()
    def both(model, ids):
        with float64():
            exact = copy.deepcopy(model).double()(ids[None]).logits[0]
        return exact, model(ids[None]).logits[0]

    return both


@pytest.fixture(scope="session")
def assert_rounded():
    """``assert_rounded(got, exact, float32, length)``: got is ``exact``, in float64, up to the rounding of its dtype.

    ``float32`` is the same computed in float32 by other code in this process: its error is what rounding does to these
    numbers on this machine. Sums of ``length`` terms, the longest there are, may err more in another order: where all
    partial sums are rounded, the error's standard deviation is up to sqrt(length / 2) times that of a sum which is
    rounded once, for terms of random signs. (Higham, Accuracy and Stability, 2nd ed., ch. 4.) In float64 ``exact`` errs
    as much as ``got`` does, so that both count.
    """
    import torch

    from braidcheck.numerics.rounding import ROUNDOFF

    def check(got, exact, float32, length):
        assert got.shape == exact.shape
        assert exact.dtype == torch.float64
        floor = (float32.double() - exact).norm() * ROUNDOFF[got.dtype] / ROUNDOFF[torch.float32]
        allowed = float(floor) * math.sqrt(length / 2) * (2 if got.dtype == torch.float64 else 1)
        error = float((got.double().cpu() - exact).norm())
        assert error <= allowed, f"an error of {error:.3g}, of which rounding allows {allowed:.3g}"

    return check
