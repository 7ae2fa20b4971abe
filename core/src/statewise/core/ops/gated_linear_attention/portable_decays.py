"""What decays do inside blocks of C tokens, in plain torch: scores, their gradients, paths across a decay.

With a_t the decays of a block, 0 where the carry is cut, and E_ij = a_{j+1} ... a_i for i >= j, else 0,

    score_ij = <q_i, E_ij k_j>        since_i = a_1 ... a_i        until_j = a_{j+1} ... a_C

A factor is a product, or the exponential of a sum, over exactly its own steps: nothing cancels, nothing
overflows and no decay has to be clamped. For the same reason the gradient of a log decay is the sum over
all paths that cross it, not a difference of running sums. A path from j to i is score_ij times its
gradient.

Shapes: q, k (B, H, N, C, K) for N blocks, g and cut (B, H or 1, N, C, K or 1).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from statewise.core.ops.dispatch import is_written_out

__all__ = ["Decays", "KeyDecays", "SharedDecays"]


class Decays(Protocol):
    """The decays of N blocks."""

    since: Tensor
    """(B, H, N, C, K or 1)."""
    until: Tensor
    """(B, H, N, C, K or 1)."""

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Scores (B, H, N, C, C)."""
        ...

    def gradients(self, q: Tensor, k: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From the gradients of the scores those of q and k, and per step the sum of the paths across it."""
        ...


class SharedDecays:
    """Decays that all keys of a head share: E is a matrix per block, scores are matrix products."""

    def __init__(self, g: Tensor, cut: Tensor | None) -> None:
        steps = g.shape[-2]
        joined = torch.ones(steps, steps, dtype=torch.bool, device=g.device).tril()
        sums = torch.where(joined.tril(-1), g, 0).cumsum(-2)
        self.since = g.cumsum(-2).exp()
        if cut is not None:
            segment = cut.cumsum(-2)
            joined = joined & (segment == segment.mT)
            self.since = self.since.masked_fill(segment > 0, 0)
        self.within = sums.exp().masked_fill(~joined, 0)
        self.until = self.within[..., -1:, :].mT

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return (q @ k.mT) * self.within

    def gradients(self, q: Tensor, k: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights = pairs * self.within
        paths = weights * (q @ k.mT)
        # paths from before t to t or later form a rectangle whose corner lies just below the diagonal
        rectangles = paths.cumsum(-1).flip(-2).cumsum(-2).flip(-2).diagonal(-1, -2, -1)
        return weights @ k, weights.mT @ q, torch.nn.functional.pad(rectangles, (1, 0)).unsqueeze(-1)


class KeyDecays:
    """Decays per key: the diagonals of E one after the other, each the one before times one more decay."""

    def __init__(self, g: Tensor, cut: Tensor | None) -> None:
        self.decay = g.exp() if cut is None else g.exp().masked_fill(cut, 0)
        self.since = _running_product(self.decay)
        later = _running_product(self.decay[..., 1:, :].flip(-2)).flip(-2)
        self.until = torch.nn.functional.pad(later, (0, 0, 0, 1), value=1.0)

    def _diagonals(self) -> list[Tensor]:
        """E_{j+d, j} for d = 0, 1, ..., each (B, H, N, C - d, K)."""
        diagonals = [torch.ones_like(self.decay)]
        for d in range(1, self.decay.shape[-2]):
            diagonals.append(diagonals[-1][..., :-1, :] * self.decay[..., d:, :])
        return diagonals

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        steps = q.shape[-2]
        scores = q.new_zeros(*q.shape[:-1], steps)
        for d, factor in enumerate(self._diagonals()):
            products = factor * k[..., : steps - d, :] * q[..., d:, :]
            scores = scores + torch.diag_embed(products.sum(-1), -d)  # exporters know no write to a diagonal
        return scores

    def gradients(self, q: Tensor, k: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps = q.shape[-2]
        dq, dk, paths = torch.zeros_like(q), torch.zeros_like(k), []
        for d, factor in enumerate(self._diagonals()):
            weights = pairs.diagonal(-d, -2, -1).unsqueeze(-1) * factor
            to_query = weights * k[..., : steps - d, :]
            dq[..., d:, :] += to_query
            dk[..., : steps - d, :] += weights * q[..., d:, :]
            paths.append(to_query * q[..., d:, :])
        return dq, dk, _crossing(paths)


def _running_product(decay: Tensor) -> Tensor:
    """The running product over a block, (..., C, K); exporters have no cumprod and get products."""
    if not is_written_out():
        return decay.cumprod(-2)  # accumulates in float64, which long sequences of decays near 1 need
    rows = list(decay.unbind(-2))
    for i in range(1, len(rows)):
        rows[i] = rows[i - 1] * rows[i]
    return torch.stack(rows, -2) if rows else decay


def _crossing(paths: list[Tensor]) -> Tensor:
    """Per step the sum of the paths across it; paths[d] lead from step j to step j + d.

    A path across the steps j+1..j+d crosses j+d, and all that a path of length d - 1 from j would.
    """
    total, longer = torch.zeros_like(paths[0]), torch.zeros_like(paths[-1])
    for d in range(len(paths) - 1, 0, -1):
        cover = paths[d].clone()
        if d < len(paths) - 1:
            cover[..., :-1, :] += longer
        total[..., d:, :] += cover
        longer = cover
    return total
