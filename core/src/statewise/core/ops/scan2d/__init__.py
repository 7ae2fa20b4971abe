"""A linear recurrence over a grid: each node takes from the node above and the node to the left.

    h[i, j] = x[i, j] + down[i, j] h[i-1, j] + right[i, j] h[i, j-1]

`down[i, j]` and `right[i, j]` are the gates into node (i, j): the *incoming* rule. States stay bounded for
|down| + |right| <= 1 at every node; nothing is clipped here. In a stream the grid's rows are the time steps
(B, L, J, F), the state is the last row, and `reset` cuts what comes from above.
Chimera's and pLSTM's states live on edges: see `scan2d_edges`.

Gradients: the same recurrence from the far corner, dx[i, j] = dh[i, j] + down[i+1, j] dx[i+1, j] + right[i,
j+1] dx[i, j+1]; d_down = dx * above, d_right = dx * left.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.ops.arguments import argument_error, check_mask, check_shape, state_dtype
from statewise.core.ops.buffers import blank
from statewise.core.ops.dispatch import Op
from statewise.core.ops.scan2d import reference

__all__ = ["scan2d"]

OP = Op("scan2d", __name__, backends=("reference", "portable", "cpu"))


def scan2d(
    down: Tensor,
    right: Tensor,
    x: Tensor,
    row: Tensor | None = None,
    column: Tensor | None = None,
    *,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scan a grid from its first corner to its last.

    Args:
        down: gates from above, broadcastable to x; real.
        right: gates from the left, broadcastable to x; real.
        x: inputs (B, I, J, F) of I rows and J columns.
        row: states above the first row, (B, J, F); zeros when None.
        column: states left of the first column, (B, I, F); zeros when None.
        reset: (B, I) bool: nothing comes from above into the rows where it is True.

    Returns:
        The states h (B, I, J, F), their last row (B, J, F) and their last column (B, I, F), all
        differentiable; float32 at least.

    Raises:
        UserError: a shape or dtype does not fit.
    """
    if x.ndim != 4:
        raise argument_error("scan2d", "x", x, "(B, I, J, F)")
    dtype = state_dtype(
        "scan2d", ("down", down), ("right", right), ("x", x), ("row", row), ("column", column)
    )
    if dtype.is_complex:
        raise argument_error("scan2d", "x", x, "a real dtype", "has the wrong dtype")
    batch, rows, columns, width = x.shape
    edges = (("row", row, (batch, columns, width), "(B, J, F)"),)
    edges += (("column", column, (batch, rows, width), "(B, I, F)"),)
    for name, edge, shape, letters in edges:
        if edge is not None:
            check_shape("scan2d", name, edge, shape, letters, x)
    down, right = (_gate(name, gate, x) for name, gate in (("down", down), ("right", right)))
    if reset is not None:
        check_mask("scan2d", reset, x)
        down = torch.where(reset[:, :, None, None], torch.zeros_like(down), down)
    down, right, x = (tensor.to(dtype).contiguous() for tensor in (down, right, x))
    row, column = (edge if edge is None else edge.to(dtype).contiguous() for edge in (row, column))
    backend = OP.choose(x)
    if backend == "reference":
        return reference.scan2d(down, right, x, *_edges(x, row, column, backend))
    h = _scan(down, right, x, row, column, backend)
    return h, h[:, -1], h[:, :, -1]


def _gate(name: str, gate: Tensor, x: Tensor) -> Tensor:
    try:
        return gate.expand(x.shape)
    except RuntimeError:
        raise argument_error(
            "scan2d", name, gate, f"broadcastable to (B, I, J, F) = {tuple(x.shape)}"
        ) from None


def _edges(x: Tensor, row: Tensor | None, column: Tensor | None, backend: str) -> tuple[Tensor, Tensor]:
    """The states beyond the edges of the grid, zero where none are given."""
    batch, rows, columns, width = x.shape

    def zeros(count: int) -> Tensor:
        shape = (batch, count, width)
        return blank(shape, x.dtype) if backend == "cpu" else x.new_zeros(shape)

    return zeros(columns) if row is None else row, zeros(rows) if column is None else column


def _forward(
    down: Tensor, right: Tensor, x: Tensor, row: Tensor | None, column: Tensor | None, backend: str
) -> Tensor:
    return OP.load(backend, x).forward(down, right, x, *_edges(x, row, column, backend))


def _forward_fake(
    down: Tensor, right: Tensor, x: Tensor, row: Tensor | None, column: Tensor | None, backend: str
) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _backward(
    grad: Tensor,
    down: Tensor,
    right: Tensor,
    h: Tensor,
    row: Tensor | None,
    column: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    edges = _edges(h, row, column, backend)
    return OP.load(backend, h).backward(grad.contiguous(), down, right, h, *edges)


def _backward_fake(
    grad: Tensor,
    down: Tensor,
    right: Tensor,
    h: Tensor,
    row: Tensor | None,
    column: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, rows, columns, width = h.shape
    lines = h.new_empty(batch, columns, width), h.new_empty(batch, rows, width)
    return torch.empty_like(h), torch.empty_like(h), torch.empty_like(h), *lines


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    down, right, _, row, column, ctx.backend = inputs
    ctx.save_for_backward(down, right, output, row, column)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    results = _scan_backward(grad, *ctx.saved_tensors, ctx.backend)
    wanted = ctx.needs_input_grad[:5]
    return *(result if wants else None for result, wants in zip(results, wanted, strict=True)), None


_scan_backward = OP.node("scan2d_backward", _backward, fake=_backward_fake)
_scan = OP.node("scan2d", _forward, fake=_forward_fake, save=_save, gradient=_gradient)
