from braidcheck.kernels.common.inputs import Numbers
from braidcheck.kernels.common.negative_controls import without_last
from braidcheck.op import Case, Sweep

SHAPES = {"small": {"T": 512, "H": 1024}}


def inputs(case, device):
    return {"x": Numbers(case, device).activations(case["T"], case["H"])}


CASES = (
    Case("throw_away", {"T": 5, "H": 32}),
    Case("throw_away", {"T": 7, "H": 33}, "float32", "tail"),
    Case("throw_away", {"T": 64, "H": 1024}, profile="qwen", large=True),
)
SWEEPS = (Sweep(Case("throw_away", {"T": 1, "H": 8}), ("T",), 65, 4097, rows=True),)
NEGATIVE_CONTROLS = {"without the last column": without_last("x")}
