"""HGRN: a gated complex recurrence whose forget gate has a lower bound that rises with depth.

    f_t = b + (1 - b) sigmoid(W_f x_t + b_f)
    c_t = silu(W_r x_t + b_r) + i silu(W_i x_t + b_i)
    h_t = f_t exp(i theta) * h_{t-1} + (1 - f_t) * c_t
    y_t = W_o (sigmoid(W_g x_t + b_g) * norm([Re h_t, Im h_t]))

With the bound b near one the layer cannot forget fast: upper layers are made for long memory and lower ones
for short. `lower_bounds` gives the bounds of a stack. Qin, Yang and Zhong, "Hierarchically Gated Recurrent
Neural Network for Sequence Modeling", 2023.

Shapes: x and y (B, L, D), f, c and h (B, L, H), h complex; W_o (D, 2H). Without `rotation` theta is zero, h
is real and W_o (D, H).

Differs from the paper: the bound is a setting of each layer; in the paper the layers of a model learn it
together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.masking import at_end
from statewise.core.ops import linear_scan

__all__ = ["HGRN", "HGRNConfig", "HGRNState", "lower_bounds"]


@dataclass(frozen=True, kw_only=True)
class HGRNConfig:
    """Settings of `HGRN`."""

    d_model: int
    """D, features in and out."""
    d_hidden: int | None = None
    """H, units of the recurrence; D when unset."""
    lower_bound: float = 0.0
    """b, the smallest forget gate; in a stack take those of `lower_bounds`."""
    rotation: bool = True
    """Let each unit turn by its own angle theta per step; the state is then complex."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_hidden is None or self.d_hidden > 0, "d_hidden", self.d_hidden, "at least 1")
        require(0 <= self.lower_bound < 1, "lower_bound", self.lower_bound, "at least 0 and below 1")


class HGRNState(NamedTuple):
    """What `HGRN` carries."""

    h: Tensor
    """(B, H), complex with rotation."""


def lower_bounds(logits: Tensor) -> Tensor:
    """The forget gates' lower bounds of K layers: the shares of all layers below.

    The first is zero and none reaches one. Zero logits give k / K, the bounds at the start of training.

    Args:
        logits: (K, ...), one per layer, and per unit if there are further axes.

    Returns:
        (K, ...), the exclusive cumulative sum of the softmax over the layers.
    """
    shares = torch.softmax(logits, dim=0)
    return torch.cat([torch.zeros_like(shares[:1]), shares[:-1].cumsum(0)])


class HGRN(Layer[HGRNState]):
    """A complex running average whose gates read only the input."""

    def __init__(self, config: HGRNConfig) -> None:
        super().__init__(config)
        hidden = config.d_hidden or config.d_model
        parts = 2 if config.rotation else 1
        width = parts * hidden
        self.forget = nn.Linear(config.d_model, hidden)
        self.write = nn.Linear(config.d_model, width)
        self.gate = nn.Linear(config.d_model, width)
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.out = nn.Linear(width, config.d_model)
        if config.rotation:
            # Slow and fast angles in a geometric row, as positions have them in rotary attention.
            self.theta = nn.Parameter(torch.exp(torch.linspace(0, -math.log(1e4), hidden)))

    def sequence(
        self, x: Tensor, state: HGRNState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, HGRNState]:
        keep, write = self._gates(x)
        h, last = linear_scan(keep, write, state.h, reset=reset)
        return self._read(h, x), HGRNState(at_end(h, last, state.h, lengths))

    def step(self, x_t: Tensor, state: HGRNState) -> tuple[Tensor, HGRNState]:
        keep, write = self._gates(x_t)
        h = keep * state.h + write
        return self._read(h, x_t), HGRNState(h)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> HGRNState:
        hidden = self.forget.out_features
        return HGRNState(
            self.zeros(batch_size, hidden, device=device, dtype=dtype, complex=self.config.rotation)
        )

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The transition f exp(i theta) and the write (1 - f) c, (..., D) to (..., H) each."""
        dtype, bound = state_dtype(x.dtype), self.config.lower_bound
        logits, candidate = self.forget(x).to(dtype), F.silu(self.write(x)).to(dtype)
        # sigmoid(-z) is 1 - sigmoid(z) without the cancellation near 1.
        share = (1 - bound) * torch.sigmoid(-logits)
        keep = bound + (1 - bound) * torch.sigmoid(logits)
        if not self.config.rotation:
            return keep, share * candidate
        real, imaginary = candidate.chunk(2, -1)
        theta = self.theta.to(dtype)
        turned = torch.complex(keep * torch.cos(theta), keep * torch.sin(theta))
        return turned, torch.complex(share * real, share * imaginary)

    def _read(self, h: Tensor, x: Tensor) -> Tensor:
        """The output, from states (..., H) and inputs (..., D) to (..., D)."""
        parts = torch.cat([h.real, h.imag], -1) if self.config.rotation else h
        return self.out(torch.sigmoid(self.gate(x)) * self.norm(parts.to(x.dtype)))
