"""A process is kept from the memory of the one that started it, and does not outlive it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from braidcheck.isolation.privacy import unreadable

MAX_LOOKS = 3000
pytestmark = pytest.mark.usefixtures("fresh_python")
READ = """
import os
from braidcheck.isolation import privacy
privacy.drop_privileges()
found = []
for name in ("mem", "environ", "maps"):
    try:
        open(f"/proc/{os.getppid()}/{name}", "rb").close()
        found.append(name)
    except PermissionError:
        pass
print(" ".join(found))
"""
CHILD = """
import time
from braidcheck.isolation.privacy import end_with_parent
end_with_parent()
print(1, flush=True)
time.sleep(600)
"""
PARENT = """
import subprocess, sys
process = subprocess.Popen([sys.executable, "-c", sys.stdin.read()], stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
"""


def python(code, **more):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **more).stdout


def test_the_memory_of_the_parent_cannot_be_read():
    with unreadable():
        assert python(READ).split() == []
    assert "maps" in python(READ.replace("privacy.drop_privileges()\n", "")).split()


def test_a_process_ends_with_its_parent():
    stat = Path(f"/proc/{int(python(PARENT, input=CHILD))}/stat")
    for _ in range(MAX_LOOKS):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.01)
    pytest.fail("it lives on")
