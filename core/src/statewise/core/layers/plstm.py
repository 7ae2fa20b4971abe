"""pLSTM in one dimension: a matrix state on the edge between two steps, with source, transition and mark.

    C_t = T_t C_{t-1} + S_t k_t v_t'                                 C_t leaves step t
    o_t = K^{-1/2} (M_t q_t' C_{t-1} + D q_t' k_t v_t')              per head
    y_t = W_o norm(o_t)

A step reads the state that *enters* it; its own value passes through the direct gate D. Source and mark are
sigmoids, the transition is tanh(5 z) and may turn negative. Each gate sees its own slice of the features.

Pöppel, Freinschlag, Schmied, Lin and Hochreiter, "pLSTM: parallelizable Linear Source Transition Mark
networks", 2025. The two-dimensional form is `plstm2d`.

Shapes: x and y (B, L, D), q, k, v (B, L, H, K) with D = H K, gates (B, L, H), C (B, H, K, K).

Differs from the paper: the causal direction only; `statewise.core.blocks.Bidirectional` gives both. The
states of all steps are stored, L D K numbers a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from statewise.core.config import require
from statewise.core.layers.contract import Layer, state_dtype
from statewise.core.layers.masking import at_end
from statewise.core.layers.plstm_parts import Gates, HeadMaps
from statewise.core.ops import linear_scan

__all__ = ["PLSTM", "PLSTMConfig", "PLSTMState"]


@dataclass(frozen=True, kw_only=True)
class PLSTMConfig:
    """Settings of `PLSTM`."""

    d_model: int
    """D, features in and out."""
    heads: int = 4
    """H, heads; divides D."""

    def __post_init__(self) -> None:
        require(self.d_model > 0, "d_model", self.d_model, "at least 1")
        require(
            self.heads > 0 and self.d_model % self.heads == 0, "heads", self.heads, "a divisor of d_model"
        )


class PLSTMState(NamedTuple):
    """What `PLSTM` carries."""

    C: Tensor
    """(B, H, K, K), keys by values: the edge that leaves the last step."""


class PLSTM(Layer[PLSTMState]):
    """Linear attention with gates on edges, read before it is written."""

    def __init__(self, config: PLSTMConfig) -> None:
        super().__init__(config)
        self.maps = HeadMaps(config.d_model, config.heads)
        self.source = Gates(config.d_model, config.heads, bias=-4.0)
        self.mark = Gates(config.d_model, config.heads, bias=-4.0)
        self.transition = Gates(config.d_model, config.heads, bias=1.0)

    def sequence(
        self, x: Tensor, state: PLSTMState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, PLSTMState]:
        q, k, v = self.maps.project(x)
        keep, write = self._gates(x, k, v)
        edges, last = linear_scan(keep, write, state.C, reset=reset)
        entering = torch.cat([state.C[:, None], edges[:, :-1]], 1)
        if reset is not None:
            entering = torch.where(reset[:, :, None, None, None], 0.0, entering)
        return self._read(x, q, k, v, entering), PLSTMState(at_end(edges, last, state.C, lengths))

    def step(self, x_t: Tensor, state: PLSTMState) -> tuple[Tensor, PLSTMState]:
        q, k, v = self.maps.project(x_t)
        keep, write = self._gates(x_t, k, v)
        return self._read(x_t, q, k, v, state.C), PLSTMState(keep * state.C + write)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> PLSTMState:
        heads = self.config.heads
        width = self.config.d_model // heads
        return PLSTMState(self.zeros(batch_size, heads, width, width, device=device, dtype=dtype))

    def _gates(self, x: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The transition (..., H, 1, 1) and the write S k v' (..., H, K, K)."""
        dtype = state_dtype(x.dtype)
        keep = torch.tanh(5 * self.transition(x).to(dtype))[..., None, None]
        source = torch.sigmoid(self.source(x).to(dtype))[..., None, None]
        return keep, source * (k.to(dtype)[..., :, None] * v.to(dtype)[..., None, :])

    def _read(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, entering: Tensor) -> Tensor:
        mark = torch.sigmoid(self.mark(x).to(entering.dtype))[..., None]
        found = mark * torch.einsum("...k,...kv->...v", q.to(entering.dtype), entering)
        return self.maps.output(found, q, k, v)
