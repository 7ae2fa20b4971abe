"""Stop at the first number that is not finite, and say what to do about it."""

from __future__ import annotations

import math

import torch
from torch import nn

from statewise.core.errors import UserError

__all__ = ["Diverged", "check_metric", "check_step"]


class Diverged(UserError):
    """Training left the finite numbers; the weights from before are kept."""


def check_step(loss: float, norm: float, *, model: nn.Module, step: int, epoch: float, rate: float) -> None:
    """Raise `Diverged` unless the loss and the norm of the whole gradient of a step are finite."""
    if math.isfinite(loss) and math.isfinite(norm):
        return
    if not math.isfinite(loss):
        what, seen = "the training loss is not finite", f"loss {loss:g}"
    else:
        what, seen = "the gradient is not finite", f"loss {loss:g}, gradient norm {norm:g}{_first_in(model)}"
    raise Diverged(
        what,
        where=f"step {step + 1}, epoch {epoch:.2f}, learning rate {rate:.3g}",
        seen=seen,
        expected="finite numbers",
        fix=f"try --learning-rate {rate / 10:.2g}, a smaller --clip or a longer --warmup-steps; "
        "if it fails in the first steps, look for huge values in the data",
    )


def check_metric(name: str, value: float, *, step: int, rate: float) -> None:
    """Raise `Diverged` if the metric that chooses the best weights is NaN."""
    if math.isnan(value):
        raise Diverged(
            f"the validation metric '{name}' is NaN",
            where=f"step {step}, learning rate {rate:.3g}",
            expected="a number",
            fix=f"try --learning-rate {rate / 10:.2g}; if it fails at once, look for gaps in the data",
        )


def _first_in(model: nn.Module) -> str:
    """The first parameter whose gradient is not finite, in words."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return f", first in '{name}'"
    return ""
