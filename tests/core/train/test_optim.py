from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

from statewise.core.train import FitConfig, parameter_groups
from statewise.core.train.optim import AdamW


class StateSpace(nn.Module):
    slow: ClassVar = frozenset({"eigenvalues", "step"})
    no_decay: ClassVar = frozenset({"skip"})

    def __init__(self):
        super().__init__()
        self.eigenvalues = nn.Parameter(torch.randn(3, 2, dtype=torch.complex64))
        self.step = nn.Parameter(torch.randn(3))
        self.skip = nn.Parameter(torch.randn(3, 3))
        self.mix = nn.Parameter(torch.randn(3, 3))
        self.inner = nn.Linear(3, 3)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.block = StateSpace()
        self.norm = nn.LayerNorm(3)
        self.step = nn.Parameter(torch.randn(2, 2))  # slow in StateSpace only
        self.head = nn.Linear(3, 5)
        self.head.weight = self.embedding.weight
        self.frozen = nn.Parameter(torch.randn(2, 2), requires_grad=False)


def test_groups_follow_the_class_attributes_of_each_module():
    groups = {(g.rate, g.decays): sorted(g.parameters) for g in parameter_groups(Model(), slow_rate=0.1)}
    assert groups == {
        (1.0, True): ["block.inner.weight", "block.mix", "embedding.weight", "step"],
        (1.0, False): ["block.inner.bias", "block.skip", "head.bias", "norm.bias", "norm.weight"],
        (0.1, False): ["block.eigenvalues", "block.step"],
    }


def test_a_shared_parameter_is_slow_if_one_of_its_modules_says_so():
    model = nn.ModuleList([nn.Linear(3, 3), StateSpace()])
    model[0].weight = model[1].eigenvalues
    (slow,) = [group for group in parameter_groups(model, slow_rate=0.5) if group.rate == 0.5]
    assert "0.weight" in slow.parameters


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_steps_are_those_of_torch(dtype, decay):
    torch.manual_seed(0)
    shapes = [(4, 3), (2, 2)]
    ours = nn.ParameterList([nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in shapes])
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    mine = AdamW(ours, FitConfig(weight_decay=decay, betas=(0.8, 0.95)))
    oracle = torch.optim.AdamW(theirs, lr=1.0, weight_decay=decay, betas=(0.8, 0.95))
    for step in range(20):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = b.grad = None if step % 3 == 1 and a is ours[1] else torch.randn_like(a)
        oracle.param_groups[0]["lr"] = 0.1 / (step + 1)
        oracle.step()
        mine.step(0.1 / (step + 1))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_slow_parameters_move_by_their_fraction_and_are_not_decayed():
    model = StateSpace()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    AdamW(model, FitConfig(slow_rate=0.25, weight_decay=0.5)).step(0.1)
    moved = {name: (parameter - before[name]).detach() for name, parameter in model.named_parameters()}
    torch.testing.assert_close(moved["step"], torch.full((3,), -0.025))  # the first step of Adam is the rate
    torch.testing.assert_close(moved["skip"], torch.full((3, 3), -0.1))
    torch.testing.assert_close(moved["mix"], -0.1 - 0.1 * 0.5 * before["mix"])


def test_state_goes_back_and_forth():
    model, twin = Model(), Model()
    twin.load_state_dict(model.state_dict())
    one, other = AdamW(model, FitConfig()), AdamW(twin, FitConfig())
    for step in range(6):
        for a, b in zip(model.parameters(), twin.parameters(), strict=True):
            a.grad = b.grad = torch.randn_like(a)
        one.step(0.1)
        if step == 2:
            twin.load_state_dict(model.state_dict())
            other.restore({name: value.clone() for name, value in one.state().items()})
        elif step > 2:
            other.step(0.1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
