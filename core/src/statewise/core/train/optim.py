"""AdamW with the parameter groups that state-space layers need.

The optimiser is written out because building one of torch's imports its compiler: seconds, in fits that take
seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from statewise.core.train.config import FitConfig

__all__ = ["AdamW", "ParameterGroup", "parameter_groups"]

EPSILON = 1e-8


@dataclass(kw_only=True)
class ParameterGroup:
    """Parameters that are trained alike."""

    rate: float
    """Learning rate, as a fraction of that of ordinary parameters."""
    decays: bool
    """Whether weight decay applies."""
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    """By the name that the model gives them."""


def parameter_groups(model: nn.Module, *, slow_rate: float) -> list[ParameterGroup]:
    """The parameters of `model` that are trained, grouped by learning rate and weight decay.

    A module names parameters of its own in the class attributes `slow` (smaller rate and no decay:
    eigenvalues, step sizes and input maps of a state-space model, as in Smith et al., S5, 2023) and
    `no_decay`. Biases, norms and everything else with one dimension are not decayed either. A parameter that
    several modules share is slow or undecayed if one of them says so.

    Args:
        model: walked module by module.
        slow_rate: rate of slow parameters, as a fraction of that of the others.
    """
    slow, kept = _named_by_modules(model, "slow"), _named_by_modules(model, "no_decay")
    groups: dict[tuple[bool, bool], ParameterGroup] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_slow = parameter in slow
            decays = not is_slow and parameter not in kept and parameter.ndim > 1
            group = ParameterGroup(rate=slow_rate if is_slow else 1.0, decays=decays)
            groups.setdefault((is_slow, decays), group).parameters[name] = parameter
    return list(groups.values())


class AdamW:
    """Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019).

    m <- b1 m + (1 - b1) g and v <- b2 v + (1 - b2) g^2, then p <- (1 - lr wd) p - lr m^ / (sqrt(v^) + 1e-8)
    with m^ = m / (1 - b1^t), v^ = v / (1 - b2^t), where t counts the gradients that the parameter has had. A
    complex parameter is two real ones.

    Args:
        model: its parameters are trained; it must be on its device already.
        config: slow_rate, weight_decay and betas.
    """

    def __init__(self, model: nn.Module, config: FitConfig) -> None:
        self.groups = parameter_groups(model, slow_rate=config.slow_rate)
        self.parameters = [parameter for group in self.groups for parameter in group.parameters.values()]
        self._decay, self._betas = config.weight_decay, config.betas
        self._steps: dict[str, int] = {}
        self._mean: dict[str, torch.Tensor] = {}
        self._square: dict[str, torch.Tensor] = {}

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def gradients(self) -> list[torch.Tensor]:
        """The gradients that there are."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move every parameter that has a gradient."""
        for group in self.groups:
            names = [name for name, parameter in group.parameters.items() if parameter.grad is not None]
            if names:
                decay = self._decay if group.decays else 0.0
                self._move(names, group.parameters, learning_rate * group.rate, decay)

    def _move(
        self, names: list[str], parameters: Mapping[str, nn.Parameter], rate: float, decay: float
    ) -> None:
        values = [_real(parameters[name]) for name in names]
        gradients = [_real(grad) for name in names if (grad := parameters[name].grad) is not None]
        for name, value in zip(names, values, strict=True):
            if name not in self._steps:
                self._steps[name] = 0
                self._mean[name], self._square[name] = torch.zeros_like(value), torch.zeros_like(value)
            self._steps[name] += 1
        means, squares = [self._mean[name] for name in names], [self._square[name] for name in names]
        (b1, b2), steps = self._betas, [self._steps[name] for name in names]
        torch._foreach_lerp_(means, gradients, 1 - b1)
        torch._foreach_mul_(squares, b2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - b2)
        scale = torch._foreach_sqrt(squares)
        torch._foreach_div_(scale, [(1 - b2**t) ** 0.5 for t in steps])
        torch._foreach_add_(scale, EPSILON)
        if decay:
            torch._foreach_mul_(values, 1 - rate * decay)
        torch._foreach_addcdiv_(values, means, scale, [-rate / (1 - b1**t) for t in steps])

    def state(self) -> dict[str, torch.Tensor]:
        """What the optimiser remembers, by `parameter name:what`."""
        steps = {f"{name}:steps": torch.tensor(count) for name, count in self._steps.items()}
        means = {f"{name}:mean": value for name, value in self._mean.items()}
        return steps | means | {f"{name}:square": value for name, value in self._square.items()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Remember what `state` returned."""
        device = {name: p.device for group in self.groups for name, p in group.parameters.items()}
        for key, value in state.items():
            name, _, what = key.rpartition(":")
            if what == "steps":
                self._steps[name] = int(value)
            else:
                place = self._mean if what == "mean" else self._square
                place[name] = value.to(device[name], copy=True)


def _real(tensor: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _named_by_modules(model: nn.Module, attribute: str) -> set[nn.Parameter]:
    """The parameters that their modules' classes list under `attribute`."""
    return {
        parameter
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        if name in getattr(type(module), attribute, ())
    }
