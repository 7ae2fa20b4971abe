"""LightNet's mixer: linear attention whose decay makes each key's memory a softmax over the past.

    z_t = log(exp(z_{t-1}) + exp(k_t))
    S_t = Diag(exp(z_{t-1} - z_t)) S_{t-1} + exp(k_t - z_t) v_t^T          per head
    o_t = S_t^T silu(q_t),          y_t = W_o (norm(o_t) * sigmoid(W_2 W_1 x_t)),          [q, k, v]_t = W x_t

Row i of S_t is then the mean of all values so far with the weights exp(k_{j,i}): the decay is additive, in
that it comes from a sum over the past and not from a product. `OrderFreeLightNet` takes the same mean over
the whole sequence, which one pass gives for any order of the tokens. Qin et al., "You Only Scan Once:
Efficient Multi-dimension Sequential Modeling with LightNet", 2024.

Shapes: x and y (B, L, D), q, k and z (B, L, H, K), v and o (B, L, H, V), S (B, H, K, V), W_1 (R, D), W_2 (H
V, R).

Differs from the paper: no encoding of multi-dimensional positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers.contract import Layer, Stateless, state_dtype
from statewise.core.layers.delta_parts import HeadNorm
from statewise.core.layers.log_sums import running_log_sum, total_log_sum
from statewise.core.layers.masking import at_end
from statewise.core.ops import gated_linear_attention
from statewise.core.ops.gated_linear_attention import gated_linear_attention_step

__all__ = ["LightNet", "LightNetConfig", "LightNetState", "OrderFreeLightNet"]

S = TypeVar("S", bound=tuple[Any, ...])


@dataclass(frozen=True, kw_only=True)
class LightNetConfig:
    """Settings of `LightNet` and `OrderFreeLightNet`."""

    d_model: int
    """D, features in and out."""
    heads: int = 1
    """H, memories side by side."""
    d_key: int | None = None
    """K, means per head; D / H, rounded up, when unset."""
    d_value: int | None = None
    """V, features of a value; D / H, rounded up, when unset."""
    rank: int = 16
    """R, rank of the map to the output gate."""

    def __post_init__(self) -> None:
        for name in ("d_model", "heads", "rank"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        for name in ("d_key", "d_value"):
            size = getattr(self, name)
            require(size is None or size > 0, name, size, "at least 1")


class LightNetState(NamedTuple):
    """What `LightNet` carries."""

    z: Tensor
    """(B, H, K), the logarithm of the sum of exp(k); minus infinity before the first step."""
    s: Tensor
    """(B, H, K, V), a mean of the values per key."""


class _Heads(Layer[S]):
    """What both forms share: maps to heads, and the gated output."""

    def __init__(self, config: LightNetConfig) -> None:
        super().__init__(config)
        d, heads = config.d_model, config.heads
        keys, values = config.d_key or -(-d // heads), config.d_value or -(-d // heads)
        self.sizes = (heads * keys, heads * keys, heads * values)
        self.maps = nn.Linear(d, sum(self.sizes), bias=False)
        self.gate = nn.Sequential(
            nn.Linear(d, config.rank, bias=False), nn.Linear(config.rank, heads * values, bias=False)
        )
        self.norm = HeadNorm(values)
        self.out = nn.Linear(heads * values, d, bias=False)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries after silu and keys (..., H, K), values (..., H, V), in the dtype of a state."""
        parts = self.maps(x).to(state_dtype(x.dtype)).split(self.sizes, -1)
        q, k, v = (part.unflatten(-1, (self.config.heads, -1)) for part in parts)
        return F.silu(q), k, v

    def read(self, o: Tensor, x: Tensor) -> Tensor:
        """The output from what was read, (..., H, V)."""
        return self.out(self.norm(o.to(x.dtype)) * torch.sigmoid(self.gate(x)))


class LightNet(_Heads[LightNetState]):
    """The causal form: running means, in constant memory."""

    def sequence(
        self, x: Tensor, state: LightNetState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, LightNetState]:
        q, k, v = self.heads(x)
        z = running_log_sum(k, state.z, reset)
        before = torch.cat([state.z.unsqueeze(1), z[:, :-1]], 1)
        g = _log_decay(before, z)
        if reset is not None:
            g = g.masked_fill(reset[..., None, None], 0)
        write = torch.exp(k - z)
        o, s = gated_linear_attention(q, write, v, g, scale=1.0, s0=state.s, reset=reset, lengths=lengths)
        return self.read(o, x), LightNetState(at_end(z, z[:, -1], state.z, lengths), s)

    def step(self, x_t: Tensor, state: LightNetState) -> tuple[Tensor, LightNetState]:
        q, k, v = self.heads(x_t)
        z = torch.logaddexp(state.z, k)
        write = torch.exp(k - z)
        o, s = gated_linear_attention_step(q, write, v, _log_decay(state.z, z), state.s, scale=1.0)
        return self.read(o, x_t), LightNetState(z, s)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LightNetState:
        heads = self.config.heads
        keys, values = self.sizes[0] // heads, self.sizes[2] // heads
        s = self.zeros(batch_size, heads, keys, values, device=device, dtype=dtype)
        return LightNetState(s.new_full((batch_size, heads, keys), -torch.inf), s)


def _log_decay(before: Tensor, z: Tensor) -> Tensor:
    """The log decay z_{t-1} - z_t; 0 where nothing has been seen, since the memory is empty then."""
    fresh = torch.isneginf(before)
    return torch.where(fresh, 0, before.masked_fill(fresh, 0) - z)


class OrderFreeLightNet(_Heads[Stateless]):
    """Means over the whole sequence: the same for any order of the tokens, each of which reads all."""

    streaming: ClassVar[bool] = False

    def sequence(
        self, x: Tensor, state: Stateless, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Stateless]:
        q, k, v = self.heads(x)
        write = torch.exp(k - total_log_sum(k, reset, lengths))
        # what lies before, at and after each token; both runs count the token itself
        runs = (
            gated_linear_attention(q, write, v, scale=1.0, reset=reset, lengths=lengths, reverse=reverse)[0]
            for reverse in (False, True)
        )
        o = sum(runs) - (q * write).sum(-1, keepdim=True) * v
        return self.read(o, x), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Stateless:
        return Stateless()
