"""The loop that defines `prefix_softmax`; autograd differentiates it, any number of times."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["prefix_softmax"]


def prefix_softmax(
    s: Tensor, v: Tensor, m: Tensor, u: Tensor, w: Tensor, cut: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step of (m, u, w) after the other, o = w / u; where u = 0 nothing has been seen."""
    outputs = []
    for t in range(s.shape[1]):
        before = (m, u, w)
        if cut is not None:
            dropped = cut[:, t].unsqueeze(-1)
            u, w = u.masked_fill(dropped, 0), w.masked_fill(dropped.unsqueeze(-1), 0)
        fresh = u == 0
        top = torch.where(fresh, s[:, t], torch.maximum(m, s[:, t]))
        old, new = torch.exp(torch.where(fresh, top, m) - top).masked_fill(fresh, 0), torch.exp(s[:, t] - top)
        m, u, w = top, old * u + new, old.unsqueeze(-1) * w + new.unsqueeze(-1) * v[:, t]
        output = w / u.unsqueeze(-1)
        if lengths is not None:
            ended = (t >= lengths).unsqueeze(-1)
            m, u = (torch.where(ended, x, y) for x, y in zip(before[:2], (m, u), strict=True))
            w, output = (
                torch.where(ended.unsqueeze(-1), before[2], w),
                output.masked_fill(ended.unsqueeze(-1), 0),
            )
        outputs.append(output)
    return torch.stack(outputs, 1), m.clone(), u.clone(), w.clone()
