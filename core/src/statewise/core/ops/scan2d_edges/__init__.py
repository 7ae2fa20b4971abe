"""A linear recurrence over a grid whose states live on the edges between nodes: pLSTM, Chimera.

Edges of kind x leave a node along the first grid axis, edges of kind y along the second. Each node mixes the
two edges that enter it into the two that leave it and adds its sources:

    e_x[i, j] = t_xx[i, j] e_x[i-1, j] + t_yx[i, j] e_y[i, j-1] + s_x[i, j]
    e_y[i, j] = t_xy[i, j] e_x[i-1, j] + t_yy[i, j] e_y[i, j-1] + s_y[i, j]

t_ab is the gate from an entering edge of kind a to the leaving edge of kind b. A gate may be shared by a
whole state, such as the key-by-value matrix of a pLSTM head. What a node reads are the edges that *enter*
it: e_x[i-1, j] and e_y[i, j-1].

Chimera's states live at the nodes (h1 over time, h2 over variates); they are e_x[i-1, j] + u_1 and e_y[i,
j-1] + u_2 of the same recurrence, with the gates of the receiving node moved one step along and the sources
s_x = t_xx u_1 + t_yx u_2, s_y = t_xy u_1 + t_yy u_2.

Gradients: the transposed mixing from the far corner; with d_x, d_y the total gradients of the leaving edges,

    d_x[i, j] = g_x[i, j] + t_xx[i+1, j] d_x[i+1, j] + t_xy[i+1, j] d_y[i+1, j]
    d_y[i, j] = g_y[i, j] + t_yx[i, j+1] d_x[i, j+1] + t_yy[i, j+1] d_y[i, j+1]
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.ops.arguments import argument_error, check_mask, check_shape, state_dtype
from statewise.core.ops.dispatch import Op
from statewise.core.ops.scan2d_edges import reference

__all__ = ["scan2d_edges"]

OP = Op("scan2d_edges", __name__, backends=("reference", "portable", "cpu"))


def scan2d_edges(
    transitions: Tensor,
    sources: Tensor,
    top: Tensor | None = None,
    left: Tensor | None = None,
    *,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scan the edges of a grid from its first corner to its last.

    Args:
        transitions: gates (B, I, J, 4, G), in the order xx, xy, yx, yy; real.
        sources: what each node adds to its x edge and its y edge, (B, I, J, 2, G, *M); real. Each gate acts
            on its *M.
        top: x edges that enter the first row, (B, J, G, *M); zeros when None.
        left: y edges that enter the first column, (B, I, G, *M); zeros when None.
        reset: (B, I) bool: no x edge enters the rows where it is True.

    Returns:
        The edges that leave each node, (B, I, J, 2, G, *M), the x edges out of the last row (B, J, G, *M)
        and the y edges out of the last column (B, I, G, *M), all differentiable; float32 at least.

    Raises:
        UserError: a shape or dtype does not fit.
    """
    if transitions.ndim != 5 or transitions.shape[3] != 4:
        raise argument_error("scan2d_edges", "transitions", transitions, "(B, I, J, 4, G)")
    batch, rows, columns, _, gates = transitions.shape
    if sources.ndim < 5:
        raise argument_error("scan2d_edges", "sources", sources, "(B, I, J, 2, G, *M)")
    inner = tuple(sources.shape[5:])
    check_shape(
        "scan2d_edges",
        "sources",
        sources,
        (batch, rows, columns, 2, gates, *inner),
        "(B, I, J, 2, G, *M)",
        transitions,
    )
    top = sources.new_zeros(batch, columns, gates, *inner) if top is None else top
    left = sources.new_zeros(batch, rows, gates, *inner) if left is None else left
    check_shape("scan2d_edges", "top", top, (batch, columns, gates, *inner), "(B, J, G, *M)", sources)
    check_shape("scan2d_edges", "left", left, (batch, rows, gates, *inner), "(B, I, G, *M)", sources)
    dtype = state_dtype(
        "scan2d_edges", ("transitions", transitions), ("sources", sources), ("top", top), ("left", left)
    )
    if dtype.is_complex:
        raise argument_error("scan2d_edges", "sources", sources, "a real dtype", "has the wrong dtype")
    if reset is not None:
        check_mask("scan2d_edges", reset, transitions)
        from_x = torch.tensor([True, True, False, False], device=reset.device)[:, None]
        cut = reset[:, :, None, None, None] & from_x
        transitions = torch.where(cut, torch.zeros_like(transitions), transitions)
    size = sources[0, 0, 0, 0, 0].numel()
    t, s, top, left = (
        tensor.to(dtype).contiguous()
        for tensor in (
            transitions,
            sources.reshape(batch, rows, columns, 2, gates, size),
            top.reshape(batch, columns, gates, size),
            left.reshape(batch, rows, gates, size),
        )
    )
    backend = OP.choose(sources)
    scan = reference.scan2d_edges if backend == "reference" else _scan
    edges = scan(t, s, top, left, backend).view(batch, rows, columns, 2, gates, *inner)
    return edges, edges[:, -1, :, 0], edges[:, :, -1, 1]


def _forward(t: Tensor, s: Tensor, top: Tensor, left: Tensor, backend: str) -> Tensor:
    return OP.load(backend, s).forward(t, s, top, left)


def _forward_fake(t: Tensor, s: Tensor, top: Tensor, left: Tensor, backend: str) -> Tensor:
    return torch.empty_like(s)


def _backward(
    grad: Tensor, t: Tensor, edges: Tensor, top: Tensor, left: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return OP.load(backend, edges).backward(grad.contiguous(), t, edges, top, left)


def _backward_fake(
    grad: Tensor, t: Tensor, edges: Tensor, top: Tensor, left: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(t), torch.empty_like(edges), torch.empty_like(top), torch.empty_like(left)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    t, _, top, left, ctx.backend = inputs
    ctx.save_for_backward(t, output, top, left)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_scan_backward(grad, *ctx.saved_tensors, ctx.backend), None


_scan_backward = OP.node("scan2d_edges_backward", _backward, fake=_backward_fake)
_scan = OP.node("scan2d_edges", _forward, fake=_forward_fake, save=_save, gradient=_gradient)
