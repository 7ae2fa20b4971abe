"""Discrete latents: V categorical variables of C classes, sampled so that gradients pass straight through.

Hafner et al., "Mastering Atari with Discrete World Models", 2021. Logits are mixed with one per cent of the
uniform distribution, so that no class is ever impossible and divergences stay finite.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["divergence", "mixed", "sample"]

UNIFORM = 0.01


def mixed(logits: Tensor) -> Tensor:
    """Logits (..., V, C) as log-probabilities with a part of the uniform distribution."""
    classes = logits.shape[-1]
    return torch.log((1 - UNIFORM) * logits.softmax(-1) + UNIFORM / classes)


def sample(log_probabilities: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One-hot samples (..., V, C) whose gradient is that of the probabilities.

    Args:
        log_probabilities: of `mixed`.
        generator: of the chance; None takes torch's own.
    """
    probabilities = log_probabilities.exp()
    flat = probabilities.detach().reshape(-1, probabilities.shape[-1])
    index = torch.multinomial(flat, 1, generator=generator)[:, 0].reshape(probabilities.shape[:-1])
    hot = F.one_hot(index, probabilities.shape[-1]).to(probabilities.dtype)
    return hot + probabilities - probabilities.detach()


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of log-probabilities (..., V, C), summed over the variables, (...)."""
    return (p.exp() * (p - q)).sum((-2, -1))
