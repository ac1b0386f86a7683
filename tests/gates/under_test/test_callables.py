"""Modules, autograd Functions and operators as functions of an op's arguments."""

import inspect

import pytest
import torch

from braidcheck.errors import UserError
from braidcheck.gates.under_test.callables import as_function
from braidcheck.gates.under_test.worker import called

REQUIRED = {"x": True, "weight": True, "eps": True}


class Norm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.variance_epsilon = 1.0

    def forward(self, hidden):
        return self.weight * hidden / (hidden.square().mean(-1, keepdim=True) + self.variance_epsilon).sqrt()


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor=2):
        return x * factor


def given():
    return {"x": torch.tensor([[3.0, 4.0]]), "weight": torch.tensor([1.0, 2.0]), "eps": 0.0}


def test_a_modules_weights_and_numbers_are_those_of_the_call():
    function = as_function(Norm(), "it")
    assert "weight" in inspect.signature(function).parameters
    assert "residual" not in inspect.signature(function).parameters
    got = called(function, REQUIRED, **given())
    assert torch.equal(got, torch.tensor([[3.0, 8.0]]) / 12.5**0.5)


def test_an_autograd_function_is_applied():
    function = as_function(Double, "it")
    assert list(inspect.signature(function).parameters) == ["x", "factor"]
    assert called(function, {"x": True}, x=torch.ones(1), factor=3) == 3


def test_an_operator_has_the_arguments_of_its_schema():
    function = as_function(torch.ops.aten.add.Tensor, "it")
    assert list(inspect.signature(function).parameters) == ["self", "other", "alpha"]
    assert called(function, {"x": True, "y": True}, x=torch.ones(1), y=torch.ones(1), alpha=2) == 3
    assert "self" in inspect.signature(as_function(torch.ops.aten.relu, "it")).parameters


def test_a_class_of_modules_is_refused_in_one_line():
    with pytest.raises(UserError, match="is a class: give an instance"):
        as_function(Norm, "it")
