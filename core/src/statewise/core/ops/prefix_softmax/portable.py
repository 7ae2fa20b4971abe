"""`prefix_softmax` in plain torch: running maxima by doubling, all sums as linear scans.

In units of exp(m_t) the sums u and w are a linear scan with decays exp(m_{t-1} - m_t), and so, backwards,
are R and Q with what each step keeps. Works on any device and dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from statewise.core.ops.linear_scan import portable as scan

__all__ = ["backward", "forward"]


def forward(
    s: Tensor, v: Tensor, m: Tensor, u: Tensor, w: Tensor, cut: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Outputs, the last m, u and w, and what each step keeps of the mean and adds to it, (B, L, H)."""
    live = _live(s, lengths)
    lowest = torch.finfo(s.dtype).min
    start = torch.where(u == 0, lowest, m)
    top = _running_maximum(torch.where(live, s, lowest), start, cut)
    decays = torch.exp(torch.cat([start.unsqueeze(1), top[:, :-1]], 1) - top)
    weights = torch.where(live, torch.exp(s - top), 0)
    writes = weights.unsqueeze(-1) * pad(v, (0, 1), value=1.0)
    sums, last = scan.forward(decays.unsqueeze(-1), writes, torch.cat([w, u.unsqueeze(-1)], -1), cut, False)
    total = torch.where(live, sums[..., -1], 1)
    o = torch.where(live.unsqueeze(-1), sums[..., :-1] / total.unsqueeze(-1), 0)
    before = torch.cat([u.unsqueeze(1), sums[:, :-1, :, -1]], 1)
    kept = torch.where(live, decays * before / total, 1)
    if cut is not None:
        kept = kept.masked_fill(cut.unsqueeze(-1), 0)
    last_m = torch.where(last[..., -1] > 0, top[:, -1], m)
    return o, last_m, last[..., -1].clone(), last[..., :-1].clone(), kept, weights / total


def backward(
    grad: Tensor,
    grad_m: Tensor,
    grad_u: Tensor,
    grad_w: Tensor,
    s: Tensor,
    v: Tensor,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    cut: Tensor | None,
    lengths: Tensor | None,
    o: Tensor,
    last_m: Tensor,
    last_u: Tensor,
    last_w: Tensor,
    kept: Tensor,
    share: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of s, v, m, u and w."""
    live = _live(s, lengths)
    grad = torch.where(live.unsqueeze(-1), grad, 0)
    later = pad(kept[:, 1:], (0, 0, 0, 1), value=1.0)
    r, _ = scan.forward(later.unsqueeze(-1), grad, last_u.unsqueeze(-1) * grad_w, None, True)
    first = torch.where(u > 0, u, 1).unsqueeze(-1)
    before = torch.cat([(w / first).unsqueeze(1), o[:, :-1]], 1)
    moved = (r * (v - before)).sum(-1)
    moved = torch.where(live & (kept > 0), moved, 0)
    pushes = -kept * share * moved
    total = (last_w * grad_w).sum(-1) + last_u * grad_u
    q, _ = scan.forward(later, pad(pushes[:, 1:], (0, 0, 0, 1)), total, None, True)
    holds, none = _holder(s, last_m, cut, live)
    ds = share * (kept * moved + q) + torch.where(holds, (grad_m - total).unsqueeze(1), 0)
    to_first = kept[:, 0] * q[:, 0] + pushes[:, 0]
    dw = (kept[:, 0] / first.squeeze(-1)).unsqueeze(-1) * r[:, 0]
    du = (to_first - (dw * w).sum(-1)) / first.squeeze(-1)
    dm = to_first + torch.where(none, grad_m - total, 0)
    seen, some = u > 0, live[:, 0]  # nothing reaches a state that has seen nothing; an empty row passes all
    dm, du = (torch.where(seen, x, 0) for x in (dm, du))
    dw = torch.where(seen.unsqueeze(-1), dw, 0)
    dm, du = torch.where(some, dm, grad_m), torch.where(some, du, grad_u)
    return ds, share.unsqueeze(-1) * r, dm, du, torch.where(some.unsqueeze(-1), dw, grad_w)


def _live(s: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, L, 1), true before the end of each row."""
    time = torch.arange(s.shape[1], device=s.device).view(1, -1, 1)
    return time < (s.shape[1] if lengths is None else lengths.view(-1, 1, 1))


def _running_maximum(s: Tensor, start: Tensor, cut: Tensor | None) -> Tensor:
    """The greatest score since the last cut or the first state: maxima over 1, 2, 4, ... steps."""
    top = s.clone()
    first = torch.maximum(s[:, 0], start)
    top[:, 0] = first if cut is None else torch.where(cut[:, :1], s[:, 0], first)
    segment = torch.zeros_like(s[..., :1]) if cut is None else cut.cumsum(1).unsqueeze(-1)
    step = 1
    while step < s.shape[1]:
        joined = segment[:, step:] == segment[:, :-step]
        later = torch.where(joined, torch.maximum(top[:, step:], top[:, :-step]), top[:, step:])
        top = torch.cat([top[:, :step], later], 1)
        step *= 2
    return top


def _holder(s: Tensor, last_m: Tensor, cut: Tensor | None, live: Tensor) -> tuple[Tensor, Tensor]:
    """Which step holds the last m, (B, L, H), and whether none does because the first state does, (B, H)."""
    found = (s == last_m.unsqueeze(1)) & live
    if cut is not None:
        segment = cut.cumsum(1)
        found = found & (segment == segment[:, -1:]).unsqueeze(-1)
    return found & (found.cumsum(1) == 1), ~found.any(1)
