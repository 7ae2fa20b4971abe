"""LaProp: gradients are divided by their scale first, and averaged afterwards.

    v <- b2 v + (1 - b2) g^2,     m <- b1 m + (1 - b1) g / (sqrt(v^) + eps),     p <- p - lr m^

Ziyin et al., "LaProp: Separating Momentum and Adaptivity in Adam", 2020. Where Adam divides an average by a
later scale, a gradient that was large for its time stays bounded here, which lets eps be tiny.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["LaProp"]


class LaProp:
    """The optimiser of all parameters of a module.

    Args:
        model: its parameters are trained.
        rate: learning rate after the warm-up.
        warmup: steps over which it rises linearly.
        betas: b1 and b2.
        epsilon: eps.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        rate: float,
        warmup: int = 0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-20,
    ) -> None:
        self.parameters = dict(model.named_parameters())
        self.rate, self.warmup, self.betas, self.epsilon = rate, warmup, betas, epsilon
        self.steps = 0
        self._square = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self._mean = {name: torch.zeros_like(p) for name, p in self.parameters.items()}

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self.steps += 1
        b1, b2 = self.betas
        rate = self.rate * min(1.0, self.steps / self.warmup) if self.warmup else self.rate
        names = [name for name, p in self.parameters.items() if p.grad is not None]
        gradients = [g for name in names if (g := self.parameters[name].grad) is not None]
        squares, means = [self._square[name] for name in names], [self._mean[name] for name in names]
        torch._foreach_mul_(squares, b2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - b2)
        scale = torch._foreach_sqrt(squares)
        torch._foreach_div_(scale, (1 - b2**self.steps) ** 0.5)
        torch._foreach_add_(scale, self.epsilon)
        torch._foreach_lerp_(means, torch._foreach_div(gradients, scale), 1 - b1)
        values: list[Tensor] = [self.parameters[name] for name in names]
        torch._foreach_add_(values, means, alpha=-rate / (1 - b1**self.steps))

    def state(self) -> dict[str, Tensor]:
        """What it remembers, by `name:what`."""
        steps = {":steps": torch.tensor(self.steps)}
        squares = {f"{name}:square": value for name, value in self._square.items()}
        return steps | squares | {f"{name}:mean": value for name, value in self._mean.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Remember what `state` returned."""
        self.steps = int(state[":steps"])
        for name in self.parameters:
            self._square[name].copy_(state[f"{name}:square"])
            self._mean[name].copy_(state[f"{name}:mean"])
