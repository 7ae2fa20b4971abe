"""FSMN, the Feedforward Sequential Memory Network: a learnt filter per channel in place of a recurrence.

    p_t = W_2 relu(W_1 x_t + b_1)
    y_t = p_t + sum_{k=0}^{N-1} a_k * p_{t - k s} + sum_{j=1}^{M} c_j * p_{t + j s}

Zhang et al., "Deep-FSMN for Large Vocabulary Continuous Speech Recognition", 2018. The complex form runs two
of them, R and I, on features whose first half is the real part and whose second half is the imaginary one:

    Re y = R(Re x) - I(Im x),        Im y = R(Im x) + I(Re x)

Zhao et al., "FRCRN: Boosting Feature Representation using Frequency Recurrence for Monaural Speech
Enhancement", 2022.

Shapes: x, p and y (B, L, D), W_1 (H, D), W_2 (D, H), a (N, D), c (M, D).

Differs from the papers: the skip connection around the unit belongs to the block. FRCRN has it inside R and
I, where it rotates the features by 45 degrees instead of passing them on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.layers.contract import Layer, Stateless
from statewise.core.layers.masking import blank, flip, flip_reset
from statewise.core.layers.temporal_conv import conv_step
from statewise.core.ops import depthwise_conv

__all__ = ["FSMN", "ComplexFSMN", "FSMNConfig", "FSMNState"]


@dataclass(frozen=True, kw_only=True)
class FSMNConfig:
    """Settings of `FSMN` and `ComplexFSMN`."""

    d_model: int
    """D, features in and out; real and imaginary parts together in the complex form."""
    d_hidden: int | None = None
    """H, hidden units; the width of p when unset."""
    look_back: int = 20
    """N, taps on the present and the past."""
    look_ahead: int = 0
    """M, taps on the future; above 0 the layer does not stream."""
    stride: int = 1
    """s, steps between taps."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(self.d_hidden is None or self.d_hidden > 0, "d_hidden", self.d_hidden, "at least 1")
        require(self.look_back > 0, "look_back", self.look_back, "at least 1")
        require(self.look_ahead >= 0, "look_ahead", self.look_ahead, "at least 0")
        require(self.stride > 0, "stride", self.stride, "at least 1")

    @property
    def latency(self) -> int:
        """Steps of the future that an output waits for."""
        return self.look_ahead * self.stride

    @property
    def carried(self) -> int:
        """Steps of the past that an output needs."""
        return (self.look_back - 1) * self.stride


class FSMNState(NamedTuple):
    """What `FSMN` and `ComplexFSMN` carry."""

    inputs: Tensor
    """(B, (N - 1) s, D), the last p, oldest first; 2 D in the complex form: R and I of both parts."""


class MemoryUnit(nn.Module):
    """The unit itself: a bottleneck and its filter.

    Args:
        width: D, features in and out.
        config: the settings, of which `d_model` is not read.
    """

    def __init__(self, width: int, config: FSMNConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.d_hidden or width
        bound = 1 / math.sqrt(config.look_back + config.look_ahead)
        self.hidden = nn.Linear(width, hidden)
        self.project = nn.Linear(hidden, width, bias=False)
        self.back = nn.Parameter(torch.empty(config.look_back, width).uniform_(-bound, bound))
        self.ahead = nn.Parameter(torch.empty(config.look_ahead, width).uniform_(-bound, bound))

    def forward(
        self, x: Tensor, inputs: Tensor, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Whole sequences: x (B, L, D) and the p before them to y (B, L, D) and the last p."""
        p = self.project(torch.relu(self.hidden(x)))
        past, inputs = depthwise_conv(
            p, _spread(self.back, self.config.stride), None, inputs, reset=reset, lengths=lengths
        )
        if self.config.look_ahead:
            # Backwards, the taps on the future are taps on the past; the present has its tap already.
            taps = torch.cat([self.ahead, torch.zeros_like(self.ahead[:1])])
            backwards = flip(blank(p, lengths), lengths)
            future, _ = depthwise_conv(
                backwards,
                _spread(taps, self.config.stride),
                reset=flip_reset(reset, lengths),
                lengths=lengths,
            )
            past = past + flip(future, lengths)
        return p + past.to(p.dtype), inputs

    def step(self, x_t: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """One step: x_t (B, D) and the p before it to y_t (B, D) and the last p."""
        p = self.project(torch.relu(self.hidden(x_t)))
        past, inputs = conv_step(p, _spread(self.back, self.config.stride), inputs)
        return p + past.to(p.dtype), inputs


class FSMN(Layer[FSMNState | Stateless]):
    """A bottleneck and a filter per channel; it streams if it does not look ahead."""

    def __init__(self, config: FSMNConfig) -> None:
        super().__init__(config)
        self.streaming = config.look_ahead == 0  # pyright: ignore[reportAttributeAccessIssue]  # decided by the settings
        self.unit = MemoryUnit(config.d_model, config)

    @property
    def latency(self) -> int:
        """Steps of the future that an output waits for."""
        return self.config.latency

    def sequence(
        self, x: Tensor, state: FSMNState | Stateless, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, FSMNState | Stateless]:
        before = _before(state, x, self.config, x.shape[2])
        y, inputs = self.unit(x, before, reset, lengths)
        return y, FSMNState(inputs) if self.streaming else state

    def step(self, x_t: Tensor, state: FSMNState | Stateless) -> tuple[Tensor, FSMNState | Stateless]:
        if not isinstance(state, FSMNState):
            return super().step(x_t, state)
        y_t, inputs = self.unit.step(x_t, state.inputs)
        return y_t, FSMNState(inputs)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> FSMNState | Stateless:
        if not self.streaming:
            return Stateless()
        shape = (batch_size, self.config.carried, self.config.d_model)
        return FSMNState(self.zeros(*shape, device=device, dtype=dtype))


class ComplexFSMN(Layer[FSMNState | Stateless]):
    """Two FSMN units on complex features, combined as the parts of a complex product."""

    def __init__(self, config: FSMNConfig) -> None:
        super().__init__(config)
        require(config.d_model % 2 == 0, "d_model", config.d_model, "even: real and imaginary parts")
        self.streaming = config.look_ahead == 0  # pyright: ignore[reportAttributeAccessIssue]  # decided by the settings
        self.real = MemoryUnit(config.d_model // 2, config)
        self.imaginary = MemoryUnit(config.d_model // 2, config)

    @property
    def latency(self) -> int:
        """Steps of the future that an output waits for."""
        return self.config.latency

    def sequence(
        self, x: Tensor, state: FSMNState | Stateless, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, FSMNState | Stateless]:
        before = _before(state, x, self.config, 2 * x.shape[2]).chunk(4, dim=-1)
        outputs, inputs = [], []
        for (unit, part), tail in zip(self._products(x), before, strict=True):
            y, new = unit(part, tail, reset, lengths)
            outputs.append(y)
            inputs.append(new)
        return _combined(outputs), FSMNState(torch.cat(inputs, -1)) if self.streaming else state

    def step(self, x_t: Tensor, state: FSMNState | Stateless) -> tuple[Tensor, FSMNState | Stateless]:
        if not isinstance(state, FSMNState):
            return super().step(x_t, state)
        outputs, inputs = [], []
        for (unit, part), tail in zip(self._products(x_t), state.inputs.chunk(4, dim=-1), strict=True):
            y_t, new = unit.step(part, tail)
            outputs.append(y_t)
            inputs.append(new)
        return _combined(outputs), FSMNState(torch.cat(inputs, -1))

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> FSMNState | Stateless:
        if not self.streaming:
            return Stateless()
        shape = (batch_size, self.config.carried, 2 * self.config.d_model)
        return FSMNState(self.zeros(*shape, device=device, dtype=dtype))

    def _products(self, x: Tensor) -> list[tuple[MemoryUnit, Tensor]]:
        """Which unit sees which part: R re, I im, R im, I re."""
        re, im = x.chunk(2, dim=-1)
        return [(self.real, re), (self.imaginary, im), (self.real, im), (self.imaginary, re)]


def _combined(outputs: list[Tensor]) -> Tensor:
    """(R re - I im, R im + I re), real part first."""
    return torch.cat([outputs[0] - outputs[1], outputs[2] + outputs[3]], dim=-1)


def _before(state: FSMNState | Stateless, x: Tensor, config: FSMNConfig, width: int) -> Tensor:
    """The carried p, zeros where the layer carries none."""
    if isinstance(state, FSMNState):
        return state.inputs
    return x.new_zeros(x.shape[0], config.carried, width)


def _spread(taps: Tensor, stride: int) -> Tensor:
    """Taps (N, D) with zeros between them, ((N - 1) s + 1, D)."""
    if stride == 1:
        return taps
    gaps = torch.zeros_like(taps)[:, None].expand(-1, stride - 1, -1)
    return torch.cat([taps[:, None], gaps], 1).flatten(0, 1)[: 1 - stride]
