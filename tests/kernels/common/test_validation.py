"""One declaration of an op's arguments: what fits gives its sizes, what does not is named."""

import pytest
import torch

from braidcheck.kernels.common.specs import ChoiceSpec, NumberSpec, TensorSpec, size
from braidcheck.kernels.common.validation import Arguments

MATRIX = Arguments({"x": TensorSpec("T,H"), "weight": TensorSpec("N,H", ("x",), optional=True)}, axes={"H": (1, 8)})


def heads(**options):
    q, cache = TensorSpec("T,Hq,D", contiguous=2), TensorSpec("B,S,Hq,D", contiguous=3, **options)
    return Arguments({"q": q, "cache": cache})


def refuses(arguments, said, *given):
    for _ in range(2):  # what is refused is not remembered as served
        with pytest.raises(ValueError, match=said):
            arguments.check(*given)


def test_sizes_of_what_fits():
    assert MATRIX.check(torch.empty(0, 3), None) == {"T": 0, "H": 3}
    assert MATRIX.check(torch.empty(2, 3), torch.empty(4, 3)) == {"T": 2, "H": 3, "N": 4}


@pytest.mark.parametrize(
    ("shape", "weight", "said"),
    [
        ((5,), None, r"^x must be \[T,H\], is \[5\]$"),
        ((5, 4), (2, 5), r"^weight must be \[N,H=4\] \(H of x\), is \[2, 5\]$"),
        ((5, 4), (4,), r"^weight must be \[N,H\], is \[4\]$"),
        ((5, 0), None, r"^H of x must be from 1 to 8, is 0$"),
        ((5, 9), None, r"^H of x must be from 1 to 8, is 9$"),
    ],
)
def test_another_shape_is_refused_by_name(shape, weight, said):
    refuses(MATRIX, said, torch.empty(shape), weight and torch.empty(weight))


def test_sizes_may_be_integers_and_follow_from_them():
    arguments = Arguments(
        {"weight": TensorSpec("N"), "num_heads": size("Hq"), "head_dim": size("D")},
        derived={"N": lambda sizes: sizes["Hq"] * sizes["D"]},
        multiples={"D": 2, "Hq": "D"},
    )
    assert arguments.check(torch.empty(8), 4, 2) == {"Hq": 4, "D": 2, "N": 8}
    refuses(arguments, r"^weight must be \[N=8\] \(N of num_heads, head_dim\), is \[7\]$", torch.empty(7), 4, 2)
    refuses(arguments, "^D of head_dim must be a multiple of 2, is 3$", torch.empty(12), 4, 3)
    refuses(arguments, "^Hq of num_heads must be a multiple of D=4 of head_dim, is 6$", torch.empty(24), 6, 4)
    for wrong in (0, -1, 2.0, True, None, torch.tensor(4)):
        refuses(arguments, "^num_heads must be", torch.empty(8), wrong, 2)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (None, "x must be a dense tensor, is NoneType"),
        ([1.0], "x must be a dense tensor, is list"),
        (torch.ones(2, 3).to_sparse(), "x must be a dense tensor, is a torch.sparse_coo one"),
        (torch.empty(2, 3).double(), "x must be torch.float32 or torch.bfloat16 or torch.float16, is torch.float64"),
        (torch.empty(2, 3, dtype=torch.int32), "x must be .*, is torch.int32"),
        (torch.empty(2, 3, dtype=torch.float8_e4m3fn), "x must be .*, is torch.float8_e4m3fn"),
        (torch.empty(3, 2).T, r"x: the last axis must be contiguous, its strides are \[1, 2\]"),
        (torch.empty(2, 3, device="meta"), "x is on meta"),
    ],
)
def test_what_is_no_such_tensor_is_refused_by_name(x, said):
    refuses(MATRIX, f"^{said}", x, None)


def test_another_dtype_than_that_of_the_other_argument_is_refused():
    x = torch.empty(1, 2)
    refuses(MATRIX, "^weight must be torch.float32 as x, is torch.float16$", x, x.half())


def test_another_device_is_refused_by_name():
    refuses(MATRIX, "different devices: .*weight", torch.empty(1, 2), torch.empty(1, 2, device="meta"))


def test_axes_of_one_element_have_any_stride():
    assert MATRIX.check(torch.empty(1, 4).T, None) == {"T": 4, "H": 1}


def test_parted_heads_and_rows_are_refused_by_name():
    arguments, q, cache = heads(), torch.empty(3, 4, 8), torch.empty(5, 6, 4, 8)
    arguments.check(torch.empty(3, 64)[:, :32].unflatten(1, (4, 8)), cache[::2])
    arguments.check(q, torch.empty(1, 6, 4, 8).expand(5, -1, -1, -1))
    for parted in (torch.empty(3, 8, 8)[:, ::2], torch.empty(3, 4, 16)[..., :8], torch.empty(4, 3, 8).transpose(0, 1)):
        refuses(arguments, "^q: the last 2 axes must be contiguous", parted, cache)
    for parted in (torch.empty(5, 12, 4, 8)[:, ::2], torch.empty(5, 4, 6, 8).transpose(1, 2)):
        refuses(arguments, "^cache: the last 3 axes must be contiguous", q, parted)


def test_what_is_written_must_be_apart_from_itself_and_from_all_else():
    arguments, q = heads(written=True), torch.empty(3, 4, 8)
    expanded, overlapping = torch.empty(1, 6, 4, 8), torch.empty(999).as_strided((2, 6, 4, 8), (191, 32, 8, 1))
    for parted in (expanded.expand(5, -1, -1, -1), overlapping):
        refuses(arguments, "^cache is written: its rows must not overlap", q, parted)
    memory = torch.empty(5, 6, 4, 8)
    for shared in (memory[0, :3], memory[4, 3:], memory[2, 1:4]):
        refuses(arguments, "^cache is written: it must not share memory with q$", shared, memory)
    arguments.check(memory[4, 3:], memory[:4])


def test_rows_that_alternate_are_apart():
    arguments = Arguments({name: TensorSpec("B,N", written=True) for name in ("k", "v")})
    both = torch.empty(5, 2, 6)
    assert arguments.check(both[:, 0], both[:, 1]) == {"B": 5, "N": 6}
    assert arguments.check(both[:, 1], both[:, 0]) == {"B": 5, "N": 6}
    rows = torch.empty(5, 12)
    refuses(arguments, "^k is written: it must not share memory with v$", rows[:, :6], rows[:, 5:11])
    refuses(arguments, "^k is written: it must not share memory with v$", rows[:, 5:11], rows[:, :6])
    refuses(arguments, "^k is written: it must not share memory with v$", rows[:, :6], rows[:, :6])


def test_an_output_may_be_an_input_that_is_named():
    arguments = Arguments({"x": TensorSpec("T,H"), "out": TensorSpec("T,H", written=True, may_be=("x",))})
    x = torch.empty(4, 6)
    arguments.check(x, x)
    refuses(arguments, "^out is written: it must not share memory with x$", x[:3], x[1:])
    refuses(arguments, "^out is written: it must not share memory with x$", x[::2], x[:2])


@pytest.mark.parametrize("wrong", [0.0, -1.0, 3.5, float("nan"), float("inf"), True, "1", None, torch.tensor(1.0)])
def test_a_number_out_of_range_is_refused_by_name(wrong):
    arguments = Arguments({"scale": NumberSpec(0.5, 2)})
    arguments.check(1.0)
    arguments.check(1)
    refuses(arguments, "^scale must be", wrong)


def test_an_integer_is_no_float_of_the_same_value():
    arguments = Arguments({"top_k": NumberSpec(0, 9, whole=True)})
    arguments.check(1)
    for wrong in (1.0, True):
        refuses(arguments, "^top_k must be an integer", wrong)


@pytest.mark.parametrize("wrong", ["raw", None, [], torch.tensor(1)])
def test_another_choice_is_refused_by_name(wrong):
    refuses(Arguments({"cache": ChoiceSpec(("pre_rope",))}), "^cache must be 'pre_rope', is ", wrong)


def test_rules_see_sizes_and_arguments():
    def never(sizes, given):
        raise ValueError(f"{sizes['T']} {given['x'].dtype}")

    refuses(Arguments({"x": TensorSpec("T")}, rules=(never,)), "^3 torch.float32$", torch.empty(3))
