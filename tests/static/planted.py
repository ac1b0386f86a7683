"""Compiles copies of a kernel's file, each with a planted regression; run where kernels are not interpreted.

Arguments: the target, then the files. Prints a line of JSON: what was read, by the file's name.
"""

import importlib.util
import json
import sys
from pathlib import Path

from braidcheck.arch import GPUS
from braidcheck.static.launches import of_case
from braidcheck.static.resources import read

target, *files = sys.argv[1:]
rows = {}
for file in map(Path, files):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    case = next(case for case in module.OP.cases if case.large and case["T"] == 4096)
    (launch,) = of_case(module.OP, case)
    rows[file.stem] = read(launch, GPUS[target])
print(json.dumps(rows))
