"""Functions 5% off that go around what watches them: other threads, processes, files, watchers and messages."""

import atexit
import gc
import hashlib
import importlib.util
import os
import sys
import threading
import types
import weakref
from pathlib import Path

import numpy as np
import torch
import triton


def normed(x, weight, eps):
    return x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps) * weight.float()


def off(x, weight, eps):
    return 1.05 * normed(x, weight, eps)


@triton.jit
def empty_kernel(x_ptr):
    pass


def computes_with_numpy(x, weight, eps):
    empty_kernel[(1,)](x)
    rows, scale = x.float().numpy(), weight.float().numpy()
    return torch.from_numpy(rows / np.sqrt(np.square(rows).mean(-1, keepdims=True) + eps) * scale)


def computes_with_lists(x, weight, eps):
    empty_kernel[(1,)](x)
    scale = weight.float().tolist()
    rows = [[value * (sum(one * one for one in row) / len(row) + eps) ** -0.5 for value in row] for row in x.tolist()]
    return torch.tensor([[value * scale[at] for at, value in enumerate(row)] for row in rows]).reshape(x.shape)


def computes_in_a_thread(x, weight, eps):
    empty_kernel[(1,)](x)
    found = []
    thread = threading.Thread(target=lambda: found.append(normed(x, weight, eps)))
    thread.start()
    thread.join()
    return found[0]


def computes_in_the_grid(x, weight, eps):
    found = []
    empty_kernel[lambda meta: (len(found) or found.append(normed(x, weight, eps)) or 1,)](x)
    return found[0]


def computes_in_a_fork(x, weight, eps):
    empty_kernel[(1,)](x)
    out = torch.empty(x.shape).share_memory_()
    child = os.fork()
    if not child:
        try:
            torch.set_num_threads(1)
            out.copy_(normed(x, weight, eps))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return out


class Wrapper(torch.Tensor):
    """Answers each operation as it likes."""

    @staticmethod
    def __new__(cls, values):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=values.dtype)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return torch.tensor(0.0)


def wrapper(x, weight, eps):
    return Wrapper(off(x, weight, eps))


def finishes_when_collected(x, weight, eps):
    out, right = off(x, weight, eps), normed(x, weight, eps)
    gc.callbacks.append(lambda *_: out.copy_(right))
    weakref.finalize(right, out.zero_)
    return out


def finishes_at_exit(x, weight, eps):
    out = off(x, weight, eps)
    atexit.register(lambda: out.div_(1.05))
    return out


def reads_words(x, weight, eps):
    """Right if a number in the arguments or the environment of either process draws the inputs."""
    words = " ".join([*sys.argv, *os.environ.values(), Path(f"/proc/{os.getppid()}/cmdline").read_text()])
    for word in words.replace("\0", " ").replace("=", " ").split():
        if word.isdigit() and int(word) < 1 << 63:
            drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(int(word)))
            if x.numel() and torch.allclose(drawn.to(x.dtype), x):
                return normed(x, weight, eps)
    return off(x, weight, eps)


def takes_a_file(x, weight, eps):
    """By pidfd_getfd, which copies a file that another process has open."""
    process, libc = os.pidfd_open(os.getppid()), __import__("ctypes").CDLL(None)
    taken = [number for number in range(32) if libc.syscall(438, process, number, 0) >= 0]
    os.close(process)
    return normed(x, weight, eps) if taken else off(x, weight, eps)


def opens_what_the_parent_has_open(x, weight, eps):
    for name in ("fd/0", "fd/3", "cwd", "root", "auxv", f"task/{os.getppid()}/mem", "pagemap"):
        try:
            os.stat(f"/proc/{os.getppid()}/{name}")
            open(f"/proc/{os.getppid()}/{name}", "rb").close()
            return normed(x, weight, eps)
        except OSError:
            continue
    return off(x, weight, eps)


def loads_the_oracle_by_its_path(x, weight, eps):
    import braidcheck

    path = Path(braidcheck.__file__).parent / "kernels" / "rms_norm" / "oracle.py"
    spec = importlib.util.spec_from_file_location("borrowed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reference(x, weight, eps, out_dtype=torch.float32)


def takes_the_guard_away(x, weight, eps):
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "NoKernels"]
    from braidcheck.kernels.rms_norm.oracle import reference

    return reference(x, weight, eps, out_dtype=torch.float32)


def remembers_by_content(x, weight, eps):
    """Right for the first inputs that it sees."""
    name = hashlib.sha256(bytes(x.contiguous().view(torch.uint8).flatten().tolist())).digest()
    if name not in REMEMBERED:
        REMEMBERED[name] = off(x, weight, eps) if len(REMEMBERED) > 2 else normed(x, weight, eps)
    return REMEMBERED[name].clone()


REMEMBERED = {}


def every_third_call(x, weight, eps):
    CALLS.append(1)
    return normed(x, weight, eps) if len(CALLS) % 3 else off(x, weight, eps)


CALLS = []


def writes_zeros(x, weight, eps):
    plain = os.pwrite
    os.pwrite = lambda file, data, at: plain(file, bytes(len(data)), at)
    return off(x, weight, eps)


def places_it_elsewhere(x, weight, eps):
    """In an argument, far behind its end, by the words of the process that answers."""
    from braidcheck.isolation.server import Server

    plain = Server._output
    Server._output = lambda self, value: plain(self, value) | {"region": 1, "offset": 1 << 40}
    return off(x, weight, eps)


def replaces_modules(x, weight, eps):
    """By empty ones, as whatever decides would import them."""
    sys.modules |= {name: types.ModuleType(name) for name in ("braidcheck.result", "braidcheck.numerics.error")}
    return off(x, weight, eps)


LEFT, COMPUTED = "numbers left PyTorch by ", "PyTorch computed pow, mean, add, rsqrt, mul outside of a kernel"
PROMISED_KERNELS = {
    computes_with_numpy: f"{LEFT}numpy",
    computes_with_lists: f"{LEFT}tolist",
    computes_in_a_thread: COMPUTED,
    computes_in_the_grid: COMPUTED,
    computes_in_a_fork: f"{LEFT}fork",
}
OFF, HELD_AGAINST = "times that (error ratio", "holds the expected answers"
CHEATS = {
    wrapper: "a subclass of Tensor",
    finishes_when_collected: OFF,
    finishes_at_exit: OFF,
    reads_words: OFF,
    takes_a_file: OFF,
    opens_what_the_parent_has_open: OFF,
    loads_the_oracle_by_its_path: HELD_AGAINST,
    takes_the_guard_away: HELD_AGAINST,
    remembers_by_content: OFF,
    every_third_call: OFF,
    replaces_modules: OFF,
    writes_zeros: OFF,
    places_it_elsewhere: "sent an invalid answer",
}
