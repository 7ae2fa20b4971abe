"""Networks that learn the bounds of their intervals: a head for the distances of quantiles from the median.

    m = network(x),   h = silu(W_1 [v, log sd, features_L] + b_1),   v = (values - mean) / sd of the window
    d = softplus(W_2 h + b_2) + floor,   s_q = d_1 + ... + d_q       for each side, step ahead and level
    quantiles:  m - s_Q, ..., m - s_1, m, m + s_1, ..., m + s_Q

They cannot cross, whatever the weights. Network and head are trained together on the pinball loss of all of
them (Koenker and Bassett, "Regression Quantiles", Econometrica 1978); the forecast is then the median. The
distances are corrected by `conformal`, as in conformalized quantile regression (Romano, Patterson & Candès,
2019), by a factor and not by a shift: Kivaranovic, Johnson & Leeb, "Adaptive, distribution-free prediction
intervals for deep networks", 2020.

Letters: B batch, L steps of a window, V series read together, C inputs per step, H horizon, Q levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.train.device import to_device
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.row_windows import CHANNELS
from statewise.timeseries.task import AT_ONCE, WindowTask
from statewise.timeseries.windows import Batch

__all__ = ["QuantileNetwork", "QuantileTask", "SpreadHead", "spread_head"]

_HIDDEN = 32
_FLOOR = 1e-3  # of a distance, in units of the series' standard deviation
_START = 0.5  # standard deviation of the errors at the start, in the same units


class SpreadHead(nn.Module):
    """Windows (B, L, C) to distances (B, 2, Q, H), below and above; (B, L, V, C) to (B, V, 2, Q, H).

    Args:
        steps: L.
        channels: C, the value first.
        horizon: H.
        levels: nominal coverages, ascending, (Q,).
    """

    def __init__(self, steps: int, channels: int, horizon: int, levels: Sequence[float]) -> None:
        super().__init__()
        self.shape = (2, len(levels), horizon)
        self.hidden = nn.Linear(steps + channels, _HIDDEN)
        self.out = nn.Linear(_HIDDEN, 2 * len(levels) * horizon)
        bounds = _START * ndtri((1 + np.array(levels)) / 2)
        steps_up = torch.from_numpy(np.diff(bounds, prepend=0.0)).float().clamp(min=0.01)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.view(self.shape).copy_(torch.log(torch.expm1(steps_up))[:, None].expand(self.shape))

    def forward(self, x: Tensor) -> Tensor:
        values = x[..., 0].movedim(1, -1)
        variance, mean = torch.var_mean(values, dim=-1, keepdim=True, correction=0)
        scale = torch.sqrt(variance + _FLOOR**2)
        seen = torch.cat([(values - mean) / scale, torch.log(scale), x[:, -1, ..., 1:]], dim=-1)
        apart = F.softplus(self.out(F.silu(self.hidden(seen)))) + _FLOOR
        return apart.unflatten(-1, self.shape).cumsum(dim=-2)


def spread_head(inputs: Inputs, levels: Sequence[float]) -> SpreadHead:
    """Freshly initialised, for the windows that a network with these inputs sees."""
    steps, channels = inputs.lookback, 1
    if inputs.gap is not None:
        steps, channels = steps + 1, CHANNELS
    return SpreadHead(steps, channels + inputs.features, inputs.horizon, levels)


class QuantileNetwork(nn.Module):
    """A network and its head, to be trained together: windows to medians and distances."""

    def __init__(self, network: nn.Module, spread: SpreadHead) -> None:
        super().__init__()
        self.network, self.spread = network, spread

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(x), self.spread(x)


class QuantileTask(WindowTask):
    """The problem of a `WindowTask` with the pinball loss of all quantiles.

    Args:
        task: the problem without them; `model` is its network.
        spread: the head.
        levels: nominal coverages, ascending, (Q,).
    """

    monitor = "val_pinball"

    def __init__(self, task: WindowTask, spread: SpreadHead, levels: Sequence[float]) -> None:
        super().__init__(QuantileNetwork(task.model, spread), task.windows, task.train, task.validation)
        self._network = task.model
        self.levels = tuple(levels)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean pinball loss over what was observed, and the penalty of the network."""
        losses, weight = self._pinball(model, batch), batch.weight
        error = losses.mean() if weight is None else (losses * weight).sum() / weight.sum()
        penalty = getattr(self._network, "penalty", None)
        return error if penalty is None else error + penalty()

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean pinball loss over all validation windows, each observed step counting the same."""
        device = next(model.parameters()).device
        total, count = 0.0, 0.0
        for part in self.validation.split(max(1, AT_ONCE // self.windows.steps)):
            batch = to_device(self.windows.gather(part), device)
            losses = self._pinball(model, batch).double()
            weight = torch.ones_like(losses) if batch.weight is None else batch.weight.double()
            total, count = total + float((losses * weight).sum()), count + float(weight.sum())
        return {"val_pinball": total / count}

    def _pinball(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean over the median and all bounds, of the shape of `batch.y`."""
        median, distances = model(batch.x)
        error = batch.y - median
        losses = error.abs() / 2
        for place, level in enumerate(self.levels):
            tail = (1 - level) / 2
            below, above = distances[..., 0, place, :] + error, error - distances[..., 1, place, :]
            losses = losses + torch.maximum(tail * below, (tail - 1) * below)
            losses = losses + torch.maximum((1 - tail) * above, -tail * above)
        return losses / (1 + 2 * len(self.levels))
