"""AdamW with the parameter groups that state-space layers need."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from statewise.core.train.config import FitConfig

__all__ = ["build_optimizer", "parameter_groups", "set_rate"]


def parameter_groups(
    model: nn.Module, *, learning_rate: float, slow_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """The parameters of `model`, grouped by learning rate and weight decay.

    A module names parameters of its own in the class attributes `slow` (smaller rate and no decay:
    eigenvalues, step sizes and input maps of a state-space model, as in Smith et al., S5, 2023) and
    `no_decay`. Biases, norms and everything else with one dimension are not decayed either. A parameter that
    several modules share is slow or undecayed if one of them says so.

    Args:
        model: walked module by module.
        learning_rate: rate of ordinary parameters.
        slow_rate: rate of slow ones, as a fraction of `learning_rate`.
        weight_decay: of the parameters that are decayed.

    Returns:
        Groups for an optimiser: `params`, `names`, `lr`, `peak` (the rate a schedule scales), `weight_decay`.
    """
    slow, kept = _named_by_modules(model, "slow"), _named_by_modules(model, "no_decay")
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_slow = parameter in slow
        decays = not is_slow and parameter not in kept and parameter.ndim > 1
        rate = learning_rate * (slow_rate if is_slow else 1.0)
        fresh = {"params": [], "names": [], "lr": rate, "peak": rate, "weight_decay": weight_decay * decays}
        group = groups.setdefault((is_slow, decays), fresh)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def build_optimizer(model: nn.Module, config: FitConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019) over the groups of `model`, which must be on its device already."""
    groups = parameter_groups(
        model,
        learning_rate=config.learning_rate,
        slow_rate=config.slow_rate,
        weight_decay=config.weight_decay,
    )
    # one kernel per group instead of a dozen per parameter; it knows neither complex numbers nor MPS
    parameters = [parameter for group in groups for parameter in group["params"]]
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set the rate of every group to `factor` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _named_by_modules(model: nn.Module, attribute: str) -> set[nn.Parameter]:
    """The parameters that their modules' classes list under `attribute`."""
    return {
        parameter
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        if name in getattr(type(module), attribute, ())
    }
