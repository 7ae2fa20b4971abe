"""What every node of a grid reads of every other, along the paths between them: pLSTM.

The recurrence of `scan2d_edges` from a unit source at each node n, in four orientations o that run along the
grid from its four corners. With e_x, e_y the edges that leave a node,

    e_x[i, j] = t_xx[i, j] e_x[i-1, j] + t_yx[i, j] e_y[i, j-1] + s_x[i, j] (n is this node)
    e_y[i, j] = t_xy[i, j] e_x[i-1, j] + t_yy[i, j] e_y[i, j-1] + s_y[i, j] (n is this node)
    w[(i, j), n] = sum over o of m_x[i, j] e_x[i-1, j] + m_y[i, j] e_y[i, j-1]

which is the sum over all monotone paths from n to (i, j) of the products of the gates along them. An
orientation that runs backwards along an axis has i + 1 or j + 1 there.

Gradients: from the far corner, with d_x, d_y those of the edges that leave a node and g of the weights,

    d_x[i-1, j] = t_xx[i, j] d_x[i, j] + t_xy[i, j] d_y[i, j] + m_x[i, j] g[(i, j)]

and the like for d_y; each gate gets the product of the two ends it joins, summed over sources.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.ops.arguments import argument_error, check_shape, state_dtype
from statewise.core.ops.dispatch import Op
from statewise.core.ops.path_weights import reference

__all__ = ["path_weights"]

OP = Op("path_weights", __name__, backends=("reference", "portable", "cpu"))


def path_weights(transitions: Tensor, sources: Tensor, marks: Tensor) -> Tensor:
    """Weights of all pairs of nodes of a grid.

    Args:
        transitions: gates (B, I, J, 4, O, G), in the order xx, xy, yx, yy: from the entering edge to the
            leaving one; real. The O = 4 orientations run forwards along both axes, backwards along I,
            backwards along J, and backwards along both.
        sources: gates (B, I, J, 2, O, G) of the x edge and the y edge; real.
        marks: gates (B, I, J, 2, O, G) of what is read of both; real.

    Returns:
        (B, G, I J, I J), reader by source, differentiable; float32 at least. No node reads itself.

    Raises:
        UserError: a shape or dtype does not fit.
    """
    if transitions.ndim != 6 or tuple(transitions.shape[3:5]) != (4, 4):
        raise argument_error("path_weights", "transitions", transitions, "(B, I, J, 4, 4, G)")
    batch, rows, columns, _, orientations, gates = transitions.shape
    wanted = (batch, rows, columns, 2, orientations, gates)
    for name, tensor in (("sources", sources), ("marks", marks)):
        check_shape("path_weights", name, tensor, wanted, "(B, I, J, 2, 4, G)", transitions)
    dtype = state_dtype("path_weights", ("transitions", transitions), ("sources", sources), ("marks", marks))
    if dtype.is_complex:
        raise argument_error(
            "path_weights", "transitions", transitions, "a real dtype", "has the wrong dtype"
        )
    t, s, m = (tensor.to(dtype).contiguous() for tensor in (transitions, sources, marks))
    backend = OP.choose(transitions)
    return (reference.path_weights if backend == "reference" else _weigh)(t, s, m, backend)


def _forward(t: Tensor, s: Tensor, m: Tensor, backend: str) -> Tensor:
    return OP.load(backend, t).forward(t, s, m)


def _forward_fake(t: Tensor, s: Tensor, m: Tensor, backend: str) -> Tensor:
    nodes = t.shape[1] * t.shape[2]
    return t.new_empty(t.shape[0], t.shape[5], nodes, nodes)


def _backward(grad: Tensor, t: Tensor, s: Tensor, m: Tensor, backend: str) -> tuple[Tensor, Tensor, Tensor]:
    return OP.load(backend, t).backward(grad.contiguous(), t, s, m)


def _backward_fake(
    grad: Tensor, t: Tensor, s: Tensor, m: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(t), torch.empty_like(s), torch.empty_like(m)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    t, s, m, ctx.backend = inputs
    ctx.save_for_backward(t, s, m)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_weigh_backward(grad, *ctx.saved_tensors, ctx.backend), None


_weigh_backward = OP.node("path_weights_backward", _backward, fake=_backward_fake)
_weigh = OP.node("path_weights", _forward, fake=_forward_fake, save=_save, gradient=_gradient)
