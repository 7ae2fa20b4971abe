"""`depthwise_conv` in plain torch: one fused multiply-add per tap over the sequence, and its gradient."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["backward", "forward", "starts"]


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, tail: Tensor, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The output (B, L, D) and the tail (B, K - 1, D) that continues it."""
    taps, length = weight.shape[0], x.shape[1]
    padded, start = torch.cat([tail, x], 1), starts(reset)
    y = torch.zeros_like(x) if bias is None else bias.expand(x.shape).clone()
    for back in range(taps):
        window = padded[:, taps - 1 - back : taps - 1 - back + length]
        y.addcmul_(_seen(window, start, back), weight[taps - 1 - back])
    if lengths is not None:
        y.masked_fill_(ended(lengths, length), 0)
    rows, index, lost = tail_index(tail, x, start, lengths)
    return y, padded[rows, index].masked_fill(lost, 0)


def backward(
    grad: Tensor | None,
    grad_tail: Tensor | None,
    x: Tensor,
    weight: Tensor,
    tail: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias and tail."""
    taps, length = weight.shape[0], x.shape[1]
    padded, start = torch.cat([tail, x], 1), starts(reset)
    dpadded, dweight, dbias = torch.zeros_like(padded), torch.zeros_like(weight), torch.zeros_like(weight[0])
    if grad is not None:
        dy = grad if lengths is None else grad.masked_fill(ended(lengths, length), 0)
        dbias = dy.sum((0, 1))
        for back in range(taps):
            place = slice(taps - 1 - back, taps - 1 - back + length)
            seen = _seen(dy, start, back)
            dpadded[:, place].addcmul_(seen, weight[taps - 1 - back].conj())
            dweight[taps - 1 - back] = (padded[:, place].conj() * seen).sum((0, 1))
    if grad_tail is not None:
        rows, index, lost = tail_index(tail, x, start, lengths)
        dpadded[rows, index] += grad_tail.masked_fill(lost, 0)
    return dpadded[:, taps - 1 :].clone(), dweight, dbias, dpadded[:, : taps - 1].clone()


def starts(reset: Tensor | None) -> Tensor | None:
    """For every step the start of its episode (B, L); before the first reset, a step that no tap reaches."""
    if reset is None:
        return None
    steps = torch.arange(reset.shape[1], device=reset.device).expand(reset.shape)
    return torch.where(reset, steps, torch.iinfo(torch.int64).min // 2).cummax(1).values


def _seen(values: Tensor, start: Tensor | None, back: int) -> Tensor:
    """`values` (B, L, D) of the steps t, zero where t - back lies before the start of the episode of t."""
    if start is None or back == 0:
        return values
    steps = torch.arange(start.shape[1], device=start.device)
    return values.masked_fill((steps - back < start)[..., None], 0)


def ended(lengths: Tensor, length: int) -> Tensor:
    """The steps past the end of each row, (B, L, 1)."""
    return (torch.arange(length, device=lengths.device) >= lengths[:, None])[..., None]


def tail_index(
    tail: Tensor, x: Tensor, start: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the returned tail lies in the old tail followed by x: rows, places, and what a reset cuts off."""
    batch, width = tail.shape[:2]
    rows = torch.arange(batch, device=x.device)[:, None]
    end = torch.full((batch,), x.shape[1], device=x.device) if lengths is None else lengths.long()
    index = end[:, None] + torch.arange(width, device=x.device)
    lost = torch.zeros_like(index, dtype=torch.bool)
    if start is not None and x.shape[1] > 0:
        last = start.gather(1, (end - 1).clamp(min=0)[:, None])
        lost = (index - width < last) & (end > 0)[:, None]
    return rows, index, lost[..., None]
