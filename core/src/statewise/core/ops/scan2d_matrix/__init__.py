"""Linear attention over a grid, its matrix states on the edges between nodes: pLSTM.

The recurrence of `scan2d_edges` with states k v' written by keys and values and read by queries, in four
orientations o that run along the grid from its four corners. In the one along rising i and j,

    C_x[i, j] = t_xx C_x[i-1, j] + t_yx C_y[i, j-1] + s_x k v'
    C_y[i, j] = t_xy C_x[i-1, j] + t_yy C_y[i, j-1] + s_y k v'
    y[i, j]   = sum over o of q' (m_x C_x[i-1, j] + m_y C_y[i, j-1])

with the gates, keys, values and queries of node (i, j). The same as `path_weights` times q' k, times v, but
linear in the number of nodes; the states of a line are all that is in memory at once.

Gradients: with g that of y, and D_x, D_y those of the states that leave a node, from the far corner,

    D_x[i-1, j] = t_xx D_x[i, j] + t_xy D_y[i, j] + m_x q g'
    D_y[i, j-1] = t_yx D_x[i, j] + t_yy D_y[i, j] + m_y q g'

and each gate gets the product of the two states that it joins. The states are worked out anew, some lines at
a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.ops.arguments import argument_error, check_shape, state_dtype
from statewise.core.ops.dispatch import Op
from statewise.core.ops.scan2d_matrix import reference

__all__ = ["scan2d_matrix"]

OP = Op("scan2d_matrix", __name__, backends=("reference", "portable", "cpu"))


def scan2d_matrix(
    queries: Tensor, keys: Tensor, values: Tensor, transitions: Tensor, sources: Tensor, marks: Tensor
) -> Tensor:
    """What every node of a grid reads of all others.

    Args:
        queries: q (B, I, J, G, K), real.
        keys: k (B, I, J, G, K).
        values: v (B, I, J, G, V).
        transitions: gates (B, I, J, 4, O, G), in the order xx, xy, yx, yy: from the entering edge to the
            leaving one. The O = 4 orientations run forwards along both axes, backwards along I, backwards
            along J, and backwards along both.
        sources: gates (B, I, J, 2, O, G) of the x edge and the y edge.
        marks: gates (B, I, J, 2, O, G) of what is read of both.

    Returns:
        y (B, I, J, G, V), differentiable; float32 at least. No node reads itself.

    Raises:
        UserError: a shape or dtype does not fit.
    """
    if queries.ndim != 5:
        raise argument_error("scan2d_matrix", "queries", queries, "(B, I, J, G, K)")
    batch, rows, columns, heads, _ = queries.shape
    check_shape("scan2d_matrix", "keys", keys, tuple(queries.shape), "(B, I, J, G, K)", queries)
    if values.ndim != 5 or values.shape[:4] != queries.shape[:4]:
        raise argument_error("scan2d_matrix", "values", values, "(B, I, J, G, V)")
    for name, tensor, count in (
        ("transitions", transitions, 4),
        ("sources", sources, 2),
        ("marks", marks, 2),
    ):
        wanted = (batch, rows, columns, count, 4, heads)
        check_shape("scan2d_matrix", name, tensor, wanted, f"(B, I, J, {count}, 4, G)", queries)
    named = {"queries": queries, "keys": keys, "values": values}
    gates = {"transitions": transitions, "sources": sources, "marks": marks}
    dtype = state_dtype("scan2d_matrix", *named.items(), *gates.items())
    if dtype.is_complex:
        raise argument_error("scan2d_matrix", "queries", queries, "a real dtype", "has the wrong dtype")
    q, k, v, t, s, m = (
        tensor.to(dtype).contiguous() for tensor in (queries, keys, values, transitions, sources, marks)
    )
    backend = OP.choose(queries)
    return (reference.scan2d_matrix if backend == "reference" else _scan)(q, k, v, t, s, m, backend)


def _forward(q: Tensor, k: Tensor, v: Tensor, t: Tensor, s: Tensor, m: Tensor, backend: str) -> Tensor:
    return OP.load(backend, q).forward(q, k, v, t, s, m)


def _forward_fake(q: Tensor, k: Tensor, v: Tensor, t: Tensor, s: Tensor, m: Tensor, backend: str) -> Tensor:
    return torch.empty_like(v)


def _backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, t: Tensor, s: Tensor, m: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return OP.load(backend, q).backward(grad.contiguous(), q, k, v, t, s, m)


def _backward_fake(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, t: Tensor, s: Tensor, m: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    one, two, three, four, five, six = (torch.empty_like(tensor) for tensor in (q, k, v, t, s, m))
    return one, two, three, four, five, six


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_scan_backward(grad, *ctx.saved_tensors, ctx.backend), None


_scan_backward = OP.node("scan2d_matrix_backward", _backward, fake=_backward_fake)
_scan = OP.node("scan2d_matrix", _forward, fake=_forward_fake, save=_save, gradient=_gradient)
