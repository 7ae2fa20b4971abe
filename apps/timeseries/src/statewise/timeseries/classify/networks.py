"""Networks over whole series of any lengths: (S, L, V) to a score for each class.

    z = Blocks(W_u [x, t/L]),   y = W_y [mean_t z, z_L],   blocks z + Layer(norm(z))

The mean and the last state run over the steps of each series alone, padding excluded; for `chimera` over
variates too. t/L says how far into its series a step is.

Letters: B batch, L longest length, V variates, D width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from statewise.core.blocks import Stack, StackConfig
from statewise.core.config import require
from statewise.core.layers.chimera2d import Chimera2D, Chimera2DConfig
from statewise.core.layers.masking import live

__all__ = ["ChimeraClassifier", "NetworkShape", "RecurrentClassifier"]


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """Shape of a classifying network."""

    variates: int
    """V"""
    classes: int
    """K"""
    d_model: int = 16
    """D, width of the blocks."""
    depth: int = 2
    """Blocks one after the other."""
    dropout: float = 0.2
    """Probability of dropping an element before the scores, in training."""

    def __post_init__(self) -> None:
        for name in ("variates", "classes", "d_model", "depth"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


class RecurrentClassifier(nn.Module):
    """A stack of blocks of the registry over all variates as channels.

    Args:
        shape: sizes.
        mixer: the layer; see `statewise layers`.
    """

    def __init__(self, shape: NetworkShape, mixer: str) -> None:
        super().__init__()
        self.embed = nn.Linear(shape.variates + 1, shape.d_model)
        self.stack = Stack(
            StackConfig(d_model=shape.d_model, mixer=mixer, depth=shape.depth, dropout=shape.dropout)
        )
        self.dropout = nn.Dropout(shape.dropout)
        self.out = nn.Linear(2 * shape.d_model, shape.classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B, K) of padded series x (B, L, V)."""
        seen = torch.cat([x, _place(lengths, x.shape[1])[..., None]], dim=-1)
        z, _ = self.stack(self.embed(seen), lengths=lengths)
        return self.out(self.dropout(_pooled(z, lengths)))


class ChimeraClassifier(nn.Module):
    """Chimera's recurrence over time and variates; see `statewise.core.layers.chimera2d`.

    Args:
        shape: sizes.
        d_state: N, states per feature and kind.
    """

    def __init__(self, shape: NetworkShape, d_state: int = 8) -> None:
        super().__init__()
        self.embed = nn.Linear(2, shape.d_model)
        config = Chimera2DConfig(
            d_model=shape.d_model, variates=shape.variates, d_state=d_state, both_ways=shape.variates > 1
        )
        self.grids = nn.ModuleList(Chimera2D(config) for _ in range(shape.depth))
        self.norms = nn.ModuleList(nn.RMSNorm(shape.d_model, eps=1e-6) for _ in range(shape.depth + 1))
        self.dropout = nn.Dropout(shape.dropout)
        self.out = nn.Linear(2 * shape.d_model, shape.classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B, K) of padded series x (B, L, V)."""
        place = _place(lengths, x.shape[1])[:, :, None].expand_as(x)
        z = self.embed(torch.stack([x, place], dim=-1))
        for place_of, grid in enumerate(self.grids):
            y, _ = grid(self.norms[place_of](z), lengths=lengths)
            z = z + self.dropout(y)
        z = self.norms[-1](z).mean(dim=2)
        return self.out(self.dropout(_pooled(z, lengths)))


def _place(lengths: Tensor, longest: int) -> Tensor:
    """How far into its series each step is, (B, L), -0.5 to 0.5."""
    steps = torch.arange(longest, device=lengths.device)
    return steps / (lengths[:, None] - 1).clamp(min=1) - 0.5


def _pooled(z: Tensor, lengths: Tensor) -> Tensor:
    """Mean over the steps of each series and its last step, (B, 2 D)."""
    alive = live(lengths, z.shape[1])[..., None]
    mean = (z * alive).sum(dim=1) / lengths[:, None].to(z.dtype)
    last = z[torch.arange(len(z), device=z.device), lengths - 1]
    return torch.cat([mean, last], dim=-1)
