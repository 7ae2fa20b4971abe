"""Codes of places on a grid, for models whose mixer does not know any order.

LRPE, cosine type: the angle of feature c at index i of the axis that c belongs to is i theta_c, and

    code(x) = [x cos, x sin],        code(q)' code(k) = sum_c q_c k_c cos((i_q - i_k) theta_c)

so that a product depends on the distance along each axis. TPE: a Toeplitz mix of the tokens along each axis
with the kernel lambda^|distance|, one lambda per head. Both of Qin et al., "You Only Scan Once: Efficient
Multi-dimension Sequential Modeling with LightNet", 2024.

Letters: B batch, y and x the axes of the grid, H heads, K features of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from statewise.core.ops import linear_scan
from statewise.vision.models.norms import RMSNorm

__all__ = ["AxialDecay", "RelativeCode", "coordinates"]

BASE = 10_000.0


def coordinates(height: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """(y x, 2): the row and the column of each token in raster order."""
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack([rows.flatten(), columns.flatten()], -1).float()


class RelativeCode(nn.Module):
    """LRPE over both axes: half of each head's features turn with the row, half with the column.

    Args:
        heads: H.
        width: K, even.
        kind: `cosine` doubles the features; `rotary` turns pairs of them and keeps their number.
    """

    no_decay = frozenset({"theta"})

    def __init__(self, heads: int, width: int, kind: str = "cosine") -> None:
        super().__init__()
        self.kind = kind
        angles = width // 2 if kind == "cosine" else width // 4
        rates = BASE ** (-torch.arange(angles) / max(1, angles))
        self.theta = nn.Parameter(rates.expand(2, heads, angles).clone())

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """Code x (B, N, H, K) by the places (N, 2): (B, N, H, 2 K) or, rotary, (B, N, H, K)."""
        return self.turned(x, *self.turns(places))

    def turns(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the angles at the places (N, 2): (N, H, K) or, rotary, (N, H, K / 2)."""
        angle = torch.cat([places[:, a, None, None] * self.theta[a] for a in (0, 1)], -1)
        return torch.cos(angle), torch.sin(angle)

    def turned(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Code x (B, N, H, K) by the turns of its places."""
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        if self.kind == "cosine":
            return torch.cat([x * cos, x * sin], -1)
        one, other = x.chunk(2, -1)
        return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)


class AxialDecay(nn.Module):
    """TPE over both axes: what each token hears of its row and of its column, added to it.

        u_n = sum_m lambda^|n - m| x_m / sum_m lambda^|n - m|         along each axis, per head
        y = x + W norm(u_rows + u_columns)

    Args:
        d_model: D.
        heads: H, a divisor of D.
    """

    no_decay = frozenset({"decay"})

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.decay = nn.Parameter(torch.linspace(0.0, 3.0, heads))
        self.norm = RMSNorm(d_model, eps=1e-6)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, y, x, D) to (B, y, x, D)."""
        heard = self._along(x.flatten(0, 1)).view_as(x)
        turned = x.transpose(1, 2)
        heard = heard + self._along(turned.flatten(0, 1)).view_as(turned).transpose(1, 2)
        return x + self.out(self.norm(heard))

    def _along(self, rows: Tensor) -> Tensor:
        """The weighted mean over each row (R, n, D)."""
        rates = torch.sigmoid(self.decay.float()).repeat_interleave(rows.shape[-1] // self.heads)
        values = torch.cat([rows.float(), torch.ones_like(rows[:1], dtype=torch.float32)])
        ahead, _ = linear_scan(rates, values)
        back, _ = linear_scan(rates, values, reverse=True)
        both = ahead + back - values  # both count the token itself
        return (both[:-1] / both[-1:]).to(rows.dtype)
