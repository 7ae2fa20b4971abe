"""Hydra: a state space read both ways, with a diagonal of its own: a quasiseparable mixer.

    [z, x', B^f, C^f, B^b, C^b, d^f, d^b]_t = W_in x_t      all but z and d pass a centred convolution, silu
    o^f, o^b = Mamba-2's recurrence forwards with (B, C, d)^f and backwards with (B, C, d)^b
    o_t = o^f_{t-1} + o^b_{t+1} + (W_D x'_t + D) x'_t            per head
    y_t = W_out (norm(o_t) * silu(z_t))

The outputs of both runs are shifted by one step, so that neither counts the step itself, which the diagonal
does. Hwang et al., "Hydra: Bidirectional State Space Models Through Generalized Matrix Mixers", 2024.

Shapes: x and y (B, L, D), z, x' and o (B, L, H, P), B and C (B, L, N), d (B, L, H), W_D (H, H P).

Differs from the paper: one group of B and C per direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, Stateless, state_dtype
from statewise.core.layers.masking import flip, flip_reset
from statewise.core.layers.ssm_parts import check_steps, head_size, step_bias
from statewise.core.ops import depthwise_conv, gated_linear_attention

__all__ = ["Hydra", "HydraConfig"]


@dataclass(frozen=True, kw_only=True)
class HydraConfig:
    """Settings of `Hydra`."""

    d_model: int
    """D, features in and out."""
    d_state: int = 64
    """N, features of B and C."""
    expand: int = 2
    """H P / D, channels of the recurrence per feature."""
    d_head: int | None = None
    """P, channels per head; when unset, the largest divisor of H P up to 64."""
    reach: int = 3
    """Steps that the convolution sees on either side."""
    dt_min: float = 1e-3
    """The shortest step at the start, for an input of zero."""
    dt_max: float = 1e-1
    """The longest step at the start; larger for layers that shall forget, or turn, at once."""

    def __post_init__(self) -> None:
        check_steps(self.dt_min, self.dt_max)
        for name in ("d_model", "d_state", "expand"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        width, head = self.expand * self.d_model, self.d_head
        require(head is None or (head > 0 and width % head == 0), "d_head", head, f"a divisor of {width}")
        require(self.reach >= 0, "reach", self.reach, "at least 0")


class Hydra(Layer[Stateless]):
    """Mamba-2 both ways in one layer."""

    streaming: ClassVar[bool] = False
    no_decay: ClassVar[frozenset[str]] = frozenset({"A_log", "D", "dt_bias"})

    def __init__(self, config: HydraConfig) -> None:
        super().__init__(config)
        width, n, taps = config.expand * config.d_model, config.d_state, 2 * config.reach + 1
        heads = width // head_size(width, config.d_head)
        self.heads, self.sizes = heads, (width, width + 4 * n, 2 * heads)
        self.inputs = nn.Linear(config.d_model, sum(self.sizes), bias=False)
        bound = 1 / math.sqrt(taps)
        self.conv_weight = nn.Parameter(torch.empty(taps, self.sizes[1]).uniform_(-bound, bound))
        self.conv_bias = nn.Parameter(torch.zeros(self.sizes[1]))
        self.dt_bias = step_bias(heads, config.dt_min, config.dt_max)
        self.A_log = nn.Parameter(torch.zeros(heads))
        self.D = nn.Parameter(torch.ones(heads))
        self.diagonal = nn.Linear(width, heads, bias=False)
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.out = nn.Linear(width, config.d_model, bias=False)

    def sequence(
        self, x: Tensor, state: Stateless, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Stateless]:
        width, n = self.sizes[0], self.config.d_state
        z, mixed, d = self.inputs(x).split(self.sizes, -1)
        mixed = F.silu(self._convolve(mixed, reset, lengths))
        value, *maps = mixed.split((width, n, n, n, n), -1)
        heads = value.unflatten(-1, (self.heads, -1))
        forth, back = d.chunk(2, -1)
        o = self._run(heads, maps[0], maps[1], forth, reset, lengths, reverse=False)
        o = o + self._run(heads, maps[2], maps[3], back, reset, lengths, reverse=True)
        o = o + (self.diagonal(value) + self.D).unsqueeze(-1) * heads
        return self.out(self.norm(o.flatten(-2).to(x.dtype)) * F.silu(z)), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Stateless:
        return Stateless()

    def _run(
        self,
        value: Tensor,
        key: Tensor,
        query: Tensor,
        d: Tensor,
        reset: Tensor | None,
        lengths: Tensor | None,
        *,
        reverse: bool,
    ) -> Tensor:
        """One direction, shifted by one step: what t is given by the steps before it, or after it."""
        dtype = state_dtype(value.dtype)
        delta = F.softplus(d.to(dtype) + self.dt_bias.to(dtype))
        g = -torch.exp(self.A_log.to(dtype)) * delta
        key, query = (part.unsqueeze(2).expand(-1, -1, self.heads, -1) for part in (key, query))
        o, _ = gated_linear_attention(
            query,
            key,
            delta.unsqueeze(-1) * value,
            g,
            scale=1.0,
            reset=reset,
            lengths=lengths,
            reverse=reverse,
        )
        if reverse:
            o = F.pad(o[:, 1:], (0, 0, 0, 0, 0, 1))
            ends = None if reset is None else F.pad(reset[:, 1:], (0, 1))
        else:
            o, ends = F.pad(o[:, :-1], (0, 0, 0, 0, 1, 0)), reset
        return o if ends is None else o.masked_fill(ends[..., None, None], 0)

    def _convolve(self, x: Tensor, reset: Tensor | None, lengths: Tensor | None) -> Tensor:
        """`reach` steps before, the step itself and `reach` steps after, within a sequence."""
        reach = self.config.reach
        y, _ = depthwise_conv(x, self.conv_weight[: reach + 1], self.conv_bias, reset=reset, lengths=lengths)
        if reach > 0:
            taps = F.pad(self.conv_weight[reach + 1 :].flip(0), (0, 0, 0, 1))
            later, _ = depthwise_conv(
                flip(x, lengths), taps, reset=flip_reset(reset, lengths), lengths=lengths
            )
            y = y + flip(later, lengths)
        return y.to(x.dtype)
