"""Sums of future rewards: advantages, lambda-returns and returns-to-go.

An episode ends in one of two ways. Terminated, nothing follows: the value of what comes after is 0.
Truncated, it would have gone on: the value after is that of the last observation. In both cases the sum of
what comes after stops, since the next step of the array belongs to another episode.

Shapes: everything (..., T) unless said, the last axis is time.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["advantages", "lambda_returns", "returns_to_go"]


def advantages(
    reward: np.ndarray,
    value: np.ndarray,
    successor: np.ndarray,
    terminated: np.ndarray,
    done: np.ndarray,
    *,
    discount: float,
    trace: float,
) -> np.ndarray:
    """Generalised advantage estimates.

        delta_t = r_t + gamma (1 - terminated_t) V'_t - V_t,     A_t = delta_t + gamma lambda (1 - done_t)
        A_{t+1}

    Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2016.

    Args:
        reward: r.
        value: V of the observation that the action was chosen on.
        successor: V' of the observation that followed, of the same episode.
        terminated: where the episode is over.
        done: where it is over or cut off.
        discount: gamma.
        trace: lambda.
    """
    delta = reward + discount * np.where(terminated, 0.0, successor) - value
    result = np.zeros_like(delta)
    ahead = np.zeros_like(delta[..., 0])
    for t in reversed(range(delta.shape[-1])):
        ahead = delta[..., t] + discount * trace * np.where(done[..., t], 0.0, ahead)
        result[..., t] = ahead
    return result


def lambda_returns(reward: Tensor, value: Tensor, proceed: Tensor, *, trace: float) -> Tensor:
    """Lambda-returns along imagined steps.

        G_t = r_t + c_t ((1 - lambda) V_{t+1} + lambda G_{t+1}),      G_H = V_H

    Hafner et al., "Mastering Diverse Domains through World Models", 2023, equation 4.

    Args:
        reward: (..., H) r_t, of the step from t to t + 1.
        value: (..., H + 1) V_0 to V_H.
        proceed: (..., H) c_t, the discount times the probability that the episode goes on after the step.
        trace: lambda.
    """
    ahead = value[..., -1]
    found = []
    for t in reversed(range(reward.shape[-1])):
        mixed = (1 - trace) * value[..., t + 1] + trace * ahead
        ahead = reward[..., t] + proceed[..., t] * mixed
        found.append(ahead)
    return torch.stack(found[::-1], -1)


def returns_to_go(reward: np.ndarray) -> np.ndarray:
    """The undiscounted sum of the rewards from each step on, (T,)."""
    return np.cumsum(np.asarray(reward, np.float64)[::-1])[::-1].copy()
