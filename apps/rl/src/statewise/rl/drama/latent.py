"""Discrete latents: V categorical variables of C classes, sampled so that gradients pass straight through.

Hafner et al., "Mastering Atari with Discrete World Models", 2021. Logits are mixed with one per cent of the
uniform distribution, so that no class is ever impossible and divergences stay finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["divergence", "draw", "mixed", "sample"]

UNIFORM = 0.01


def mixed(logits: Tensor) -> Tensor:
    """Logits (..., V, C) as log-probabilities with a part of the uniform distribution."""
    classes = logits.shape[-1]
    return torch.log((1 - UNIFORM) * logits.softmax(-1) + UNIFORM / classes)


def draw(log_probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One-hot samples (..., V, C) without gradients: where one even number per variable falls in the sum.

    Args:
        log_probabilities: of `mixed`.
        generator: of the chance; None takes torch's own.
    """
    rising = log_probabilities.detach().exp().cumsum(-1)
    even = torch.rand(rising.shape[:-1], generator=generator, dtype=rising.dtype)[..., None]
    index = (rising[..., :-1] <= even).sum(-1, keepdim=True)
    return torch.zeros_like(rising).scatter_(-1, index, 1.0)


def sample(log_probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One-hot samples (..., V, C) whose gradient is that of the probabilities.

    Args:
        log_probabilities: of `mixed`.
        generator: of the chance; None takes torch's own.
    """
    probabilities = log_probabilities.exp()
    return draw(log_probabilities, generator) + probabilities - probabilities.detach()


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of log-probabilities (..., V, C), summed over the variables, (...)."""
    return (p.exp() * (p - q)).sum((-2, -1))
