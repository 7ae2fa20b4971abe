"""Cross-entropy against every item without ever holding tokens x items.

    loss = mean_t (log sum_v exp(h_t . E_v + b_v) - h_t . E_y - b_y)
    dh = (P - Y) E / n,   dE = (P - Y)' h / n,   db = sum_t (P - Y) / n       P = softmax, Y = one-hot

The loss is a mean, so its gradients are known up to the factor that arrives from above as soon as P is: they
are computed in the forward pass, tile by tile, while P is in the cache, and nothing is kept for the
backward pass but they. One tile of logits, reused, is all the memory beside them.

Small catalogues: a tile is some tokens and all items. Large ones: a tile is some tokens and some items; a
first sweep finds each token's log-sum-exp online (Milakov and Gimelshein, 2018), a second one the gradients.

With `products="bf16"` the three matrix products of a tile round what they multiply to bf16 (see `products`);
logits, softmax, sums and gradients stay in float32.

Letters: n tokens, V items, d width. Half precision is lifted to float32 inside.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from statewise.recsys.network.products import bf16_products

__all__ = ["chunked_cross_entropy"]

_TILE = 2**20
"""Logits in a tile: 4 MB; 2 to 8 MB are about as fast."""
_LOST = 80.0
"""Losses from here on are those of probabilities below the normal numbers of float32."""
_WIDE = 2**14
"""Catalogues up to this size keep all items in a tile."""


def chunked_cross_entropy(
    hidden: Tensor,
    table: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    tile: int = _TILE,
    products: Literal["fp32", "bf16"] = "fp32",
) -> Tensor:
    """Mean cross-entropy of the targets among all items.

    Args:
        hidden: (n, d), what the network says.
        table: (V, d), the items.
        bias: (V,).
        targets: (n,) int64.
        tile: logits that are held at once.
        products: arithmetic of the matrix products.
    """
    with bf16_products() if products == "bf16" else nullcontext():
        return _ChunkedCE.apply(hidden, table, bias, targets, tile)  # pyright: ignore[reportReturnType]


class _ChunkedCE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor, tile: int) -> Tensor:
        wants = any(ctx.needs_input_grad[:3])
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        h, e, b = hidden.to(dtype), table.to(dtype), bias.to(dtype)
        sweep = _all_items if len(table) <= _WIDE else _some_items
        loss, grads = sweep(h, e, b, targets, tile, wants)
        if wants:
            n = max(1, len(h))
            ctx.save_for_backward(*(grad.div_(n) for grad in grads))
            ctx.dtypes = hidden.dtype, table.dtype, bias.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grads = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        dh, de, db = ((above.to(grad.dtype) * grad).to(dtype) for grad, dtype in grads)
        return dh, de, db, None, None


def _all_items(
    h: Tensor, e: Tensor, b: Tensor, targets: Tensor, tile: int, wants: bool
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Tiles of tokens with all items: one sweep."""
    n, v = len(h), len(e)
    rows = max(16, min(n, tile // v))
    buffer = h.new_empty(rows, v)
    turned = e.t().contiguous()
    grads = torch.empty_like(h), torch.zeros_like(e), torch.zeros_like(b)
    losses = h.new_empty(n)
    for low in range(0, n, rows):
        x, y = h[low : low + rows], targets[low : low + rows]
        z = torch.addmm(b, x, turned, out=buffer[: len(x)])
        place = torch.arange(len(x), device=h.device), y
        own = z[place]
        p = torch.softmax(z, 1, out=z)
        loss = p[place].log().neg_()
        losses[low : low + rows] = _where_lost(loss, own, x, turned, b)
        if wants:
            p[place] -= 1
            torch.mm(p, e, out=grads[0][low : low + rows])
            grads[1].addmm_(p.t(), x)
            grads[2].add_(p.sum(0))
    return losses.mean(), grads


def _where_lost(loss: Tensor, own: Tensor, x: Tensor, turned: Tensor, b: Tensor) -> Tensor:
    """The losses, by the log-sum-exp where the target's probability is too small for its logarithm."""
    lost = torch.nonzero(~(loss < _LOST)).flatten()
    if len(lost):
        loss[lost] = torch.addmm(b, x[lost], turned).logsumexp(1) - own[lost]
    return loss


def _some_items(
    h: Tensor, e: Tensor, b: Tensor, targets: Tensor, tile: int, wants: bool
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Tiles of tokens and items: a sweep for the log-sum-exp, one for the gradients."""
    n, v = len(h), len(e)
    rows = min(n, 256)
    columns = max(16, tile // max(1, rows))
    buffer = h.new_empty(rows * columns)
    grads = torch.zeros_like(h), torch.zeros_like(e), torch.zeros_like(b)
    losses = h.new_empty(n)

    def logits(x: Tensor, low: int) -> Tensor:
        part = e[low : low + columns]
        out = buffer[: len(x) * len(part)].view(len(x), len(part))
        return torch.addmm(b[low : low + columns], x, part.t(), out=out)

    for first in range(0, n, rows):
        x, y = h[first : first + rows], targets[first : first + rows]
        top = x.new_full((len(x),), -torch.inf)
        total = x.new_zeros(len(x))
        for low in range(0, v, columns):
            z = logits(x, low)
            higher = torch.maximum(top, z.amax(1))
            total = total * torch.exp(top - higher) + z.sub_(higher[:, None]).exp_().sum(1)
            top = higher
        lse = top + total.log()
        losses[first : first + rows] = lse - (x * e[y]).sum(1) - b[y]
        if not wants:
            continue
        for low in range(0, v, columns):
            p = logits(x, low).sub_(lse[:, None]).exp_()
            here = torch.nonzero((y >= low) & (y < low + columns)).flatten()
            p[here, y[here] - low] -= 1
            grads[0][first : first + rows].addmm_(p, e[low : low + columns])
            grads[1][low : low + columns].addmm_(p.t(), x)
            grads[2][low : low + columns].add_(p.sum(0))
    return losses.mean(), grads
