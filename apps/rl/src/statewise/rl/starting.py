"""Weights to begin a training with: those of an earlier run."""

from __future__ import annotations

from torch import nn

from statewise.core.train.tensors import load_into
from statewise.rl.saved import load_policy

__all__ = ["start_from"]


def start_from(init: str | None, network: nn.Module, model: str) -> None:
    """Load the weights of a run into a fresh network, where one is named.

    Raises:
        CheckpointError: there is no such run, or its weights do not fit.
    """
    if init is not None:
        load_into(network, load_policy(init).network.state_dict(), f"{init}, for {model}")
