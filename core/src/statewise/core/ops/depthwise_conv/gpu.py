"""`depthwise_conv` for GPUs: Triton forward, each output written once whatever the number of taps.

The gradient, which is not the limit anywhere yet, and complex inputs run in plain torch.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from statewise.core.ops.depthwise_conv import portable
from statewise.core.ops.depthwise_conv.portable import backward

__all__ = ["backward", "forward"]

STEPS, CHANNELS = 32, 32
"""Steps and channels of a program."""


@triton.jit
def _forward(
    padded,
    weight,
    bias,
    start,
    y,
    length,
    width,
    TAPS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_START: tl.constexpr,
    STEPS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * STEPS + tl.arange(0, STEPS)
    d = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (t < length)[:, None] & (d < width)[None, :]
    total = tl.zeros((STEPS, CHANNELS), dtype=y.dtype.element_ty)
    if HAS_BIAS:
        total += tl.load(bias + d, mask=d < width, other=0.0)[None, :]
    if HAS_START:
        begins = tl.load(start + row * length + t, mask=t < length, other=0)
    for tap in tl.static_range(TAPS):
        place = (row * (length + TAPS - 1) + t + tap)[:, None] * width + d[None, :]
        seen = inside
        if HAS_START:
            seen = seen & ((t - (TAPS - 1 - tap)) >= begins)[:, None]
        value = tl.load(padded + place, mask=seen, other=0.0)
        total += value * tl.load(weight + tap * width + d, mask=d < width, other=0.0)[None, :]
    tl.store(y + (row * length + t)[:, None] * width + d[None, :], total, mask=inside)


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, tail: Tensor, reset: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The output (B, L, D) and the tail (B, K - 1, D) that continues it."""
    if x.is_complex():
        return portable.forward(x, weight, bias, tail, reset, lengths)
    batch, length, width = x.shape
    padded, start = torch.cat([tail, x], 1), portable.starts(reset)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    marks = x.new_empty(0, dtype=torch.int64) if start is None else start.contiguous()
    shift = weight if bias is None else bias.contiguous()
    with torch.cuda.device_of(x):
        _forward[(batch, triton.cdiv(length, STEPS), triton.cdiv(width, CHANNELS))](
            padded,
            weight.contiguous(),
            shift,
            marks,
            y,
            length,
            width,
            TAPS=weight.shape[0],
            HAS_BIAS=bias is not None,
            HAS_START=start is not None,
            STEPS=STEPS,
            CHANNELS=CHANNELS,
        )
    if lengths is not None:
        y.masked_fill_(portable.ended(lengths, length), 0)
    rows, index, lost = portable.tail_index(tail, x, start, lengths)
    return y, padded[rows, index].masked_fill(lost, 0)
