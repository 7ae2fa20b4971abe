"""Reversible instance normalisation: each window is standardised by itself and the forecast taken back.

    x' = g (x - mean) / sd + c,     y = (y' - c) / g * sd + mean,     sd = √(variance + 1e-5)

Kim et al., "Reversible Instance Normalization for Accurate Time-Series Forecasting against Distribution
Shift", ICLR 2022. The statistics are those of the window alone, so that nothing after it can enter.

Letters: B batch, L lookback, H horizon, V variates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["RevIN", "Units"]

_VARIANCE_FLOOR = 1e-5


class Units(NamedTuple):
    """What a window was standardised by; time is the last axis, of size 1."""

    mean: Tensor
    scale: Tensor


class RevIN(nn.Module):
    """Standardise windows (..., L) by their own mean and deviation; take forecasts (..., H) back.

    The gain g and the shift c are one number each, shared by all series.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, value: Tensor) -> tuple[Tensor, Units]:
        """The standardised windows, (..., L), and their units."""
        variance, mean = torch.var_mean(value, dim=-1, keepdim=True, correction=0)
        units = Units(mean, torch.sqrt(variance + _VARIANCE_FLOOR))
        return (value - units.mean) / units.scale * self.gain + self.shift, units

    def inverse(self, y: Tensor, units: Units) -> Tensor:
        """Forecasts (..., H) in the units of the window."""
        # a gain that training has driven to zero must not make forecasts infinite
        gain = torch.where(self.gain.abs() < 1e-3, torch.full_like(self.gain, 1e-3), self.gain)
        return (y - self.shift) / gain * units.scale + units.mean
