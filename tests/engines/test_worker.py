"""What an engine may return: arrays of any kind, as raw float32."""

import ast
import inspect

import numpy as np
import pytest
import torch

from braidcheck.engines import worker
from braidcheck.engines.client import Client, Top
from braidcheck.engines.process import EngineError
from tests.engines.tiny import Local

ROWS = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


class Gives:
    def __init__(self, value):
        self.value = value

    def prefill(self, ids):
        return self.value

    def prefill_batch(self, prompts):
        return [self.value] * len(prompts)

    def hidden_states(self, ids):
        return [self.value, None]


def client(value):
    return Client(lambda: Local(Gives(value)), 3)


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        np.array(ROWS),
        np.array(ROWS, dtype=np.float16),
        torch.tensor(ROWS, dtype=torch.bfloat16, requires_grad=True),
        torch.tensor(ROWS).T.contiguous().T,
    ],
    ids=["lists", "float64", "float16", "bfloat16", "strided"],
)
def test_arrays_of_any_kind_serve(value):
    assert client(value).prefill([0, 1]).tolist() == ROWS
    assert client(value).prefill([0, 1], [1]).tolist() == ROWS[1:]
    assert [got.tolist() for got in client(value).prefill_batch([[0, 1], [1, 2]], [-1])] == [ROWS[1:], ROWS[1:]]
    states = client(value).hidden_states([0, 1], [1])
    assert states[0].tolist() == ROWS[1:]
    assert states[1] is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1.0, 2.0]], r"gave logits \[1, 2\], \[2, 3\] were expected"),
        ([1.0, 2.0], "raised"),
        ([[1.0], [1.0, 2.0]], "rows of an array differ in length"),
        (None, "raised"),
        ("text", "raised"),
    ],
)
def test_what_is_no_such_array_is_said(value, said):
    with pytest.raises(EngineError, match=said):
        client(value).prefill([0, 1])


class TopTwo:
    ids, logprobs = [[], [2, 0]], [[], [-0.1, -3.0]]


def test_a_servers_best_may_lack_rows():
    got = client(TopTwo()).prefill([0, 1])
    assert isinstance(got, Top)
    assert got.ids.tolist() == [[-1, -1], [2, 0]]


def test_a_token_of_another_model_is_said():
    class Other:
        ids, logprobs = [[3], [1]], [[-0.1], [-0.1]]

    with pytest.raises(EngineError, match="gave the token 3, the model has 3"):
        client(Other()).prefill([0, 1])


def test_as_many_answers_as_prompts_are_wanted():
    class Short(Gives):
        def prefill_batch(self, prompts):
            return [self.value]

    with pytest.raises(EngineError, match="gave 1 answers to 2 prompts"):
        Client(lambda: Local(Short(ROWS)), 3).prefill_batch([[0, 1], [1, 2]])


def subscripted_on_import(node):
    """The names that are subscripted when a module is imported: annotations and functions' bodies are not run."""
    if isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        return
    if isinstance(node, ast.Subscript):
        yield ast.unparse(node.value)
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and name != "annotation":
                yield from subscripted_on_import(child)


def test_python_3_8_can_import_the_worker():
    tree = ast.parse(inspect.getsource(worker), feature_version=(3, 8))
    assert not {"dict", "list", "tuple", "type", "set"} & set(subscripted_on_import(tree))
