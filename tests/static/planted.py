"""Compiles copies of an op, each with a planted regression; run where kernels are not interpreted.

Arguments: the target, then the copies' folders. Prints a line of JSON: what was read, by the folder's name.
"""

import importlib
import json
import sys
from pathlib import Path

from braidcheck.arch import GPUS
from braidcheck.static.launches import of_case
from braidcheck.static.resources import read

target, *folders = sys.argv[1:]
rows = {}
for folder in map(Path, folders):
    sys.path.insert(0, str(folder.parent))
    op = importlib.import_module(f"{folder.name}.op").OP
    case = next(case for case in op.cases if case.large and case["T"] == 4096)
    (launch,) = of_case(op, case)
    rows[folder.name] = read(launch, GPUS[target])
print(json.dumps(rows))
