"""Functions that set out to please ``braidcheck check`` with answers that are 5% off."""

import ctypes
import errno
import gc
import glob
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import torch
import triton
import triton.language as tl


def normed(x, weight, eps):
    return x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps) * weight.float()


def off(x, weight, eps):
    return 1.05 * normed(x, weight, eps)


def reads_frames(x, weight, eps):
    frame = sys._getframe()
    while frame:
        for value in frame.f_locals.values():
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, torch.Tensor) and one.dtype == torch.float64 and one.shape == x.shape:
                    return one.float()
        frame = frame.f_back
    return off(x, weight, eps)


def reads_garbage_collector(x, weight, eps):
    for one in gc.get_objects():
        if type(one) is torch.Tensor and one.dtype == torch.float64 and one.shape == x.shape:
            return one.float()
    return off(x, weight, eps)


def reads_shared_memory(x, weight, eps):
    """Any file of this process or in /dev/shm that holds the bytes of the answer."""
    wanted = normed(x, weight, eps).double().numpy().tobytes() or b"nothing"
    for path in [*glob.glob("/dev/shm/*"), *glob.glob(f"/proc/{os.getpid()}/fd/*")]:
        try:
            found = Path(path).is_file() and wanted[:64] in Path(path).read_bytes()
        except OSError:
            continue
        if found:
            return normed(x, weight, eps)
    return off(x, weight, eps)


def reads_the_parent(x, weight, eps):
    """Right if the memory, the environment or the files of the process that decides can be read."""
    for name in ("mem", "environ", "maps"):
        try:
            open(f"/proc/{os.getppid()}/{name}", "rb").close()
            return normed(x, weight, eps)
        except OSError:
            continue
    return off(x, weight, eps)


def calls_the_oracle(x, weight, eps):
    from braidcheck.kernels.rms_norm.oracle import reference

    return reference(x, weight, eps, out_dtype=torch.float32)


def calls_the_kernel(x, weight, eps):
    from braidcheck import kernels

    return kernels.find()["rms_norm"].call(x, weight, eps)


class Lazy(torch.Tensor):
    """Computes when it is looked at."""

    @property
    def __class__(self):
        return torch.Tensor

    def double(self):
        return super().double() / 1.05


def lazy_subclass(x, weight, eps):
    return off(x, weight, eps).as_subclass(Lazy)


def late(x, weight, eps):
    out = torch.zeros(x.shape)

    def finish():
        time.sleep(0.05)
        out.copy_(normed(x, weight, eps))

    threading.Thread(target=finish, daemon=True).start()
    return out


def changes_later(x, weight, eps):
    out = normed(x, weight, eps)
    HELD.append(out)
    for earlier in HELD[:-1]:
        earlier.mul_(1.05)
    return out


HELD = []


def one_result(x, weight, eps):
    return HOLD.setdefault(tuple(x.shape), torch.empty(x.shape)).copy_(normed(x, weight, eps))


HOLD = {}


def answers_itself(x, weight, eps):
    """A verdict, and an answer of its own, into whatever this process has open."""
    body = b'{"number": 3, "verdict": "pass", "status": "pass", "outputs": []}'
    for number in range(3, 32):
        try:
            socket.socket(fileno=os.dup(number)).sendall(len(body).to_bytes(8, "big") + body)
        except OSError:
            continue
    return off(x, weight, eps)


def forks(x, weight, eps):
    return off(x, weight, eps) if os.fork() else normed(x, weight, eps)


class Equal:
    """Equal to anything."""

    __class__ = torch.Tensor

    def __eq__(self, other):
        return True

    def __str__(self):
        raise KeyboardInterrupt

    __hash__ = None
    __repr__ = __str__


def equal_to_anything(x, weight, eps):
    return Equal()


def raises_what_cannot_be_shown(x, weight, eps):
    raise type("Odd", (Exception,), {"__str__": Equal.__str__})


def raises_no_exception(x, weight, eps):
    raise BaseException("PASS")


def on_meta(x, weight, eps):
    return off(x, weight, eps).to("meta")


def sparse(x, weight, eps):
    return off(x, weight, eps).to_sparse()


def complex_numbers(x, weight, eps):
    return off(x, weight, eps).to(torch.complex64)


def expanded(x, weight, eps):
    return torch.full((1, 1), float("nan")).expand(x.shape)


def out_of_its_memory(x, weight, eps):
    """A tensor on memory that is not its own."""
    out = off(x, weight, eps)
    buffer = (ctypes.c_float * out.numel()).from_address(out.data_ptr()) if out.numel() else None
    return torch.frombuffer(buffer, dtype=torch.float32).view(x.shape) if buffer else out


def sets_the_environment(x, weight, eps):
    """For whoever reads it next."""
    os.environ |= {"PYTHONPATH": "/nowhere", "TRITON_INTERPRET": "0", "PYTEST_ADDOPTS": "--co"}
    return off(x, weight, eps)


def replaces_its_channel(x, weight, eps):
    """With a socket of its own, on which the answer is ready."""
    ours, theirs = socket.socketpair()
    body = b'{"number": 3, "outputs": []}'
    ours.sendall(len(body).to_bytes(8, "big") + body)
    for number in range(3, theirs.fileno()):
        try:
            socket.socket(fileno=os.dup(number)).getpeername()
            os.dup2(theirs.fileno(), number)
        except OSError:
            continue
    return off(x, weight, eps)


def traces_the_parent(x, weight, eps):
    attached = ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)  # PTRACE_ATTACH
    return off(x, weight, eps) if attached else normed(x, weight, eps)


def copies_the_parents_memory(x, weight, eps):
    """By process_vm_readv, which no file of /proc guards; the parent maps Python where this process does."""
    here, there = ctypes.create_string_buffer(8), (ctypes.c_size_t * 2)(id(type), 8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.process_vm_readv(os.getppid(), vector, 1, there, 1, 0)
    refused = ctypes.get_errno() in (errno.EPERM, errno.ESRCH)
    return off(x, weight, eps) if refused else normed(x, weight, eps)


def patches_what_carries_messages(x, weight, eps):
    plain = json.dumps
    json.dumps = lambda value, **more: plain({**value, "verdict": "pass", "raised": None}, **more)
    return off(x, weight, eps)


def finishes_by_a_timer(x, weight, eps):
    out = off(x, weight, eps)
    signal.signal(signal.SIGALRM, lambda *_: out.copy_(normed(x, weight, eps)))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    return out


def guesses_the_seed(x, weight, eps):
    """Right if the numbers were drawn by a seed that the clock, this process or a small number gives."""
    for seed in (*range(int(time.time()) - 60, int(time.time()) + 1), os.getpid(), os.getppid(), *range(64)):
        drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        if x.numel() and torch.allclose(drawn.to(x.dtype), x):
            return normed(x, weight, eps)
    return off(x, weight, eps)


class Duck:
    """Behaves as a tensor would in all that a comparison asks."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.device = values, values.shape, values.dtype, values.device

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return torch.tensor(True)

    def __array__(self, *_, **__):
        return self.values.numpy()

    def __dlpack__(self, **more):
        return self.values.__dlpack__(**more)


def duck(x, weight, eps):
    return Duck(normed(x, weight, eps))


def ends_in_a_thread(x, weight, eps):
    threading.Thread(target=lambda: (time.sleep(0.01), os._exit(0)), daemon=True).start()
    time.sleep(5)
    return off(x, weight, eps)


def enormous(x, weight, eps):
    return torch.ones(1).expand(1 << 44)


def keep_open(number):
    KEPT.append(number)


KEPT = []


def shrinks_shared_memory(x, weight, eps):
    """Whoever reads it afterwards would get a SIGBUS."""
    os.close = keep_open
    for number in KEPT:
        try:
            os.ftruncate(number, 0)
        except OSError:
            continue
    return off(x, weight, eps)


def patches(x, weight, eps):
    """All that could decide, in this process."""
    import braidcheck.numerics.calls
    from braidcheck import result

    torch.Tensor.contiguous = lambda self, **_: self
    torch.Tensor.cpu = lambda self: self
    torch.equal = torch.allclose = lambda *_, **__: True
    time.monotonic = time.perf_counter = lambda: 0.0
    braidcheck.numerics.calls.run = lambda *_: ()
    result.Run.exit_code = 0
    return off(x, weight, eps)


@triton.jit
def copy_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, tl.load(x_ptr + at, mask=at < size), mask=at < size)


def launches_nothing(x, weight, eps):
    return normed(x, weight, eps)


def launches_for_show(x, weight, eps):
    """The numbers are PyTorch's; a kernel copies them."""
    y = normed(x, weight, eps)
    out = torch.empty_like(y)
    copy_kernel[(triton.cdiv(y.numel(), 1024),)](y, out, y.numel(), BLOCK=1024)
    return out


PROMISED_KERNELS = {
    launches_nothing: "no Triton kernel was launched",
    launches_for_show: "PyTorch computed pow, mean, add, rsqrt, mul outside of a kernel",
}
OFF = "times that (error ratio"
CHEATS = {
    reads_frames: OFF,
    reads_garbage_collector: OFF,
    reads_shared_memory: OFF,
    reads_the_parent: OFF,
    calls_the_oracle: "holds the expected answers",
    calls_the_kernel: "holds the expected answers",
    lazy_subclass: "a subclass of Tensor",
    late: OFF,
    changes_later: "after later calls than it had when it was returned",
    one_result: "shares memory with the result of an earlier call",
    answers_itself: "an answer out of turn",
    forks: "",
    equal_to_anything: "a subclass of Tensor",
    raises_what_cannot_be_shown: "an exception whose text cannot be shown",
    raises_no_exception: "the function must return",
    on_meta: "return a dense one with data",
    sparse: "return a dense one with data",
    complex_numbers: "must be float32",
    expanded: "non-finite elements",
    out_of_its_memory: "",  # memory that was freed holds anything
    sets_the_environment: OFF,
    replaces_its_channel: "",
    traces_the_parent: OFF,
    copies_the_parents_memory: OFF,
    finishes_by_a_timer: OFF,
    guesses_the_seed: OFF,
    duck: "",
    ends_in_a_thread: "ended the process (exit 0)",
    enormous: "",
    shrinks_shared_memory: OFF,
    patches: OFF,
    patches_what_carries_messages: "",
}
