"""Mamba-3: Mamba-2 with a trapezoidal step, a state that rotates, and several inputs and outputs per head.

    [z, x', B, C, d, a, l, theta]_t = W_in x_t          B, C <- norm(B) + b_B, norm(C) + b_C
    delta_t = softplus(d_t + b)      A_t = -max(tail(a_t), 1e-4)      lambda_t = sigmoid(l_t)
    phi_t = phi_{t-1} + pi tanh(theta_t) delta_t        k_t = R(phi_t) B_t,   q_t = R(phi_t) C_t
    S_t = exp(delta_t A_t) (S_{t-1} + (1 - lambda_t) delta_t k_{t-1} v_{t-1}^T) + lambda_t delta_t k_t v_t^T
    o_t = S_t^T q_t + D v_t,         y_t = W_out sum_r U_r (o_{t,r} * silu(Z_r z_t)),      v_{t,r} = X_r x'_t

With tail(a) = 1 + a for a >= 0 and 1 / (1 - a) below. R(phi) turns pairs of features: a complex state in
real numbers, which can count modulo a number. Rank R > 1 (MIMO) writes and reads R pairs per step and head,
with the diagonal maps X_r, Z_r and U_r; for R = 1 they are left out. One call of `gated_linear_attention`
does it all: token s reaches every later token with the weight lambda_s delta_s + (1 - lambda_{s+1})
delta_{s+1}, and only what it reads itself is corrected.

Lahoti et al., "Mamba-3: Improved Sequence Modeling using State Space Principles", 2026.

Shapes: x and y (B, L, D), B, C, k and q (B, L, H, R, N), x' and z (B, L, H, P), v and o (B, L, H, R, P), S
(B, H, N, P), phi (B, L, H, M), delta, A and lambda (B, L, H).

Differs from the paper: a_t may be moved by a constant, so that -A starts at another rate than 1; the rotated
features are the first 2 M, paired at a distance of M; B and C are one group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.masking import at_end, blank
from statewise.core.layers.rotation import rotate
from statewise.core.layers.ssm_parts import check_steps, head_size, step_bias
from statewise.core.ops import gated_linear_attention, linear_scan

__all__ = ["Mamba3", "Mamba3Config", "Mamba3State"]

SLOWEST = 1e-4
"""Least rate -A."""


@dataclass(frozen=True, kw_only=True)
class Mamba3Config:
    """Settings of `Mamba3`."""

    d_model: int
    """D, features in and out."""
    d_state: int = 128
    """N, features of B and C."""
    expand: int = 2
    """H P / D, channels of the recurrence per feature."""
    d_head: int | None = None
    """P, channels per head; when unset, the largest divisor of H P up to 64."""
    rank: int = 1
    """R, inputs and outputs per head and step; above 1 the layer is MIMO."""
    rotated: float = 0.5
    """Share of the features of B and C that rotate."""
    rate: float = 1.0
    """-A for an input of zero; below 1 a state outlives the long steps that wide turns take."""
    dt_min: float = 1e-3
    """The shortest step at the start, for an input of zero."""
    dt_max: float = 1e-1
    """The longest step at the start; larger for layers that shall forget, or turn, at once."""

    def __post_init__(self) -> None:
        check_steps(self.dt_min, self.dt_max)
        for name in ("d_model", "expand", "rank"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        require(self.d_state > 1, "d_state", self.d_state, "at least 2")
        require(self.rate >= SLOWEST, "rate", self.rate, f"at least {SLOWEST}")
        width, head = self.expand * self.d_model, self.d_head
        require(head is None or (head > 0 and width % head == 0), "d_head", head, f"a divisor of {width}")
        require(0 < self.rotated <= 1, "rotated", self.rotated, "above 0 and at most 1")

    @property
    def angles(self) -> int:
        """M, pairs of features that rotate, at least one."""
        return max(1, int(self.d_state * self.rotated) // 2)


class Mamba3State(NamedTuple):
    """What `Mamba3` carries."""

    s: Tensor
    """(B, H, N, P)."""
    angle: Tensor
    """(B, H, M), phi in radians, in [0, 2 pi)."""
    key: Tensor
    """(B, H, R, N), the last key, rotated."""
    value: Tensor
    """(B, H, R, P), the last value."""


class _Step(NamedTuple):
    """What is computed from an input alone: (..., H, ...)."""

    z: Tensor  # (..., H, P)
    value: Tensor  # (..., H, R, P)
    key: Tensor  # (..., H, R, N), not yet rotated
    query: Tensor
    decay: Tensor  # delta A, (..., H)
    now: Tensor  # lambda delta, (..., H)
    late: Tensor  # (1 - lambda) delta
    turn: Tensor  # (..., H, M), by how much the angle grows


class Mamba3(Layer[Mamba3State]):
    """Linear attention in a rotating frame, its write shared between this step and the next."""

    no_decay: ClassVar[frozenset[str]] = frozenset({"D", "dt_bias"})

    def __init__(self, config: Mamba3Config) -> None:
        super().__init__(config)
        width = config.expand * config.d_model
        head = head_size(width, config.d_head)
        heads, maps = width // head, config.rank * config.d_state
        self.heads, self.sizes = heads, (width, width, maps, maps, heads, heads, heads, config.angles)
        self.inputs = nn.Linear(config.d_model, sum(self.sizes), bias=False)
        # where the tail is the rate
        self.first = config.rate - 1 if config.rate >= 1 else 1 - 1 / config.rate
        self.dt_bias = step_bias(heads, config.dt_min, config.dt_max)
        self.key_norm = nn.RMSNorm(config.d_state, eps=1e-5)
        self.query_norm = nn.RMSNorm(config.d_state, eps=1e-5)
        self.key_bias = nn.Parameter(torch.ones(heads, config.rank, config.d_state))
        self.query_bias = nn.Parameter(torch.ones(heads, config.rank, config.d_state))
        self.D = nn.Parameter(torch.ones(heads))
        if config.rank > 1:
            start = torch.ones(heads, config.rank, head)
            self.X, self.U = (nn.Parameter(start / config.rank) for _ in range(2))
            self.Z = nn.Parameter(start.clone())
        self.out = nn.Linear(width, config.d_model, bias=False)

    def sequence(
        self, x: Tensor, state: Mamba3State, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Mamba3State]:
        part = self._inputs(x)
        angles = self._angles(part.turn, state.angle, reset)
        key, query = (rotate(rows, angles.unsqueeze(-2)) for rows in (part.key, part.query))
        after = F.pad(blank(part.late, lengths)[:, 1:], (0, 0, 0, 1))
        weight = part.now + after
        first = part.late[:, 0] if lengths is None else part.late[:, 0] * (lengths > 0).unsqueeze(-1)
        s0 = state.s + self._write(first, state.key, state.value)
        o, s = self._attend(query, key, part.value, weight, part.decay, s0, reset, lengths)
        o = o + self._correction(query, key, part.value, part.now, weight)
        last = (angles[:, -1], key[:, -1], part.value[:, -1])
        ends = zip((angles, key, part.value), last, state[1:], strict=True)
        carried = (at_end(states, end, begin, lengths) for states, end, begin in ends)
        return self._read(o, part, x), Mamba3State(s, *carried)

    def step(self, x_t: Tensor, state: Mamba3State) -> tuple[Tensor, Mamba3State]:
        part = self._inputs(x_t)
        angle = torch.remainder(state.angle + part.turn, 2 * math.pi)
        key, query = (rotate(rows, angle.unsqueeze(-2)) for rows in (part.key, part.query))
        before = state.s + self._write(part.late, state.key, state.value)
        s = torch.exp(part.decay)[..., None, None] * before + self._write(part.now, key, part.value)
        return self._read(query @ s, part, x_t), Mamba3State(s, angle, key, part.value)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Mamba3State:
        config, heads, head = self.config, self.heads, self.sizes[0] // self.heads
        shapes = (
            (config.d_state, head),
            (config.angles,),
            (config.rank, config.d_state),
            (config.rank, head),
        )
        return Mamba3State(
            *(self.zeros(batch_size, heads, *shape, device=device, dtype=dtype) for shape in shapes)
        )

    def _inputs(self, x: Tensor) -> _Step:
        dtype, rank = state_dtype(x.dtype), self.config.rank
        z, value, key, query, d, a, trapezoid, theta = self.inputs(x).split(self.sizes, -1)
        z, value = (rows.unflatten(-1, (self.heads, -1)) for rows in (z, value))
        value = value.unsqueeze(-2) if rank == 1 else value.unsqueeze(-2) * self.X
        key = self.key_norm(key.unflatten(-1, (1, rank, -1))) + self.key_bias
        query = self.query_norm(query.unflatten(-1, (1, rank, -1))) + self.query_bias
        delta, a = F.softplus(d.to(dtype) + self.dt_bias.to(dtype)), a.to(dtype) + self.first
        # the branch not taken must not divide by zero, or its gradient would not be finite
        rates = torch.where(a >= 0, 1 + a, 1 / (1 - a.clamp(max=0))).clamp(min=SLOWEST)
        share = torch.sigmoid(trapezoid.to(dtype))
        turn = math.pi * torch.tanh(theta.to(dtype)).unsqueeze(-2) * delta.unsqueeze(-1)
        rows = (value.to(dtype), key.to(dtype), query.to(dtype))
        return _Step(z, *rows, -rates * delta, share * delta, (1 - share) * delta, turn)

    def _angles(self, turn: Tensor, first: Tensor, reset: Tensor | None) -> Tensor:
        """phi after every step, (B, L, H, M), in [0, 2 pi)."""  # noqa: D403
        # summed in double precision, where there is one: thousands of turns are far from zero
        wide = torch.float64 if turn.device.type != "mps" else turn.dtype
        angles, _ = linear_scan(torch.ones_like(turn[0, 0], dtype=wide), turn.to(wide), first, reset=reset)
        return torch.remainder(angles, 2 * math.pi).to(turn.dtype)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        weight: Tensor,
        decay: Tensor,
        s0: Tensor,
        reset: Tensor | None,
        lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """One call for all ranks: a step is R tokens, the first of which decays and may be reset."""
        rank = self.config.rank
        query, key, value = (rows.transpose(2, 3).flatten(1, 2) for rows in (query, key, value))
        key = key * weight.repeat_interleave(rank, 1).unsqueeze(-1)
        decay = F.pad(decay.unsqueeze(2), (0, 0, 0, rank - 1)).flatten(1, 2)
        if reset is not None:
            reset = F.pad(reset.unsqueeze(2), (0, rank - 1)).flatten(1, 2)
        o, s = gated_linear_attention(
            query,
            key,
            value,
            decay,
            scale=1.0,
            s0=s0,
            reset=reset,
            lengths=None if lengths is None else rank * lengths,
        )
        return o.unflatten(1, (-1, rank)).transpose(2, 3), s

    def _correction(self, query: Tensor, key: Tensor, value: Tensor, now: Tensor, weight: Tensor) -> Tensor:
        """What a step reads of its own writes, lambda delta for every rank, less what `_attend` gave it."""
        rank = self.config.rank
        given = torch.ones(rank, rank, device=query.device, dtype=query.dtype).tril()
        factor = now[..., None, None] - weight[..., None, None] * given
        return ((query @ key.mT) * factor) @ value

    def _write(self, weight: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The sum over the ranks of weight k v^T, (..., H, N, P)."""
        return weight[..., None, None] * (key.mT @ value)

    def _read(self, o: Tensor, part: _Step, x: Tensor) -> Tensor:
        """The output from what every rank has read, (..., H, R, P)."""
        o = (o + self.D[:, None, None] * part.value).to(x.dtype)
        if self.config.rank == 1:
            return self.out((o.squeeze(-2) * F.silu(part.z)).flatten(-2))
        gated = o * F.silu(part.z.unsqueeze(-2) * self.Z)
        return self.out((gated * self.U).sum(-2).flatten(-2))
