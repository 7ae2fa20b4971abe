"""Softmax attention over the past with scores that do not depend on the query's position: the state of Aaren.

    o_t = sum_{j <= t} exp(s_j) v_j / sum_{j <= t} exp(s_j)      per head, over the steps j of t's episode

as a recurrence on (m, u, w), the greatest score so far and the two sums in units of exp(m),

    m_t = max(m_{t-1}, s_t)
    u_t = exp(m_{t-1} - m_t) u_{t-1} + exp(s_t - m_t)
    w_t = exp(m_{t-1} - m_t) w_{t-1} + exp(s_t - m_t) v_t          o_t = w_t / u_t

A state with u = 0 has seen nothing: its m does not count, so that zeros are the state before the first
step. Where an episode starts the state is dropped. After the end of a row it stands still and outputs are
zero.

Gradient. With p_t = exp(s_t - m_t) / u_t the share of step t in o_t and a_t = 1 - p_t what is kept of
o_{t-1}, computed from the exponentials too, and do_t the gradient of o_t,

    R_t = do_t + a_{t+1} R_{t+1}                     dv_t = p_t R_t
    e_t = <R_t, v_t - o_{t-1}>                       ds_t = p_t (a_t e_t + Q_t)
    Q_{t-1} = a_t (Q_t - p_t e_t)

Only differences of values occur, so that nothing cancels where one score outweighs all others. The
gradients of the last u and w enter R and Q; that of the last m goes to the step that holds the greatest
score.

Feng et al., "Attention as an RNN", 2024.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.ops.arguments import argument_error, check_mask, check_shape, state_dtype
from statewise.core.ops.dispatch import Op
from statewise.core.ops.prefix_softmax import reference
from statewise.core.ops.prefix_softmax.reference import PrefixState, prefix_softmax_step

__all__ = ["PrefixState", "prefix_softmax", "prefix_softmax_step"]

NAME = "prefix_softmax"
OP = Op(NAME, __name__, ("reference", "portable", "cpu"))


def prefix_softmax(
    s: Tensor,
    v: Tensor,
    state: PrefixState | None = None,
    *,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, PrefixState]:
    """The mean of all values so far, weighted by the exponentials of their scores.

    Args:
        s: scores, (B, L, H), finite.
        v: values, (B, L, H, V).
        state: the state before the first step; None is zero.
        reset: (B, L), true where an episode starts: the state before that step counts as zero.
        lengths: (B,) integers up to L, the end of each row; None is L for all.

    Returns:
        o (B, L, H, V) and the state after the last step. All are differentiable, of the dtype that the
        arguments promote to and at least float32.

    Raises:
        UserError: an argument has the wrong shape, dtype or device; the message names it.
    """
    dtype = _check(s, v, state, reset, lengths)
    s, v = s.to(dtype), v.to(dtype)
    if state is None:
        state = PrefixState(torch.zeros_like(s[:, 0]), torch.zeros_like(s[:, 0]), torch.zeros_like(v[:, 0]))
    m, u, w = (x.to(dtype) for x in state)
    cut = reset
    if cut is not None and lengths is not None:
        cut = cut & (torch.arange(s.shape[1], device=s.device) < lengths.unsqueeze(1))
    backend = OP.choose(s)
    if backend == "reference":
        o, *last = reference.prefix_softmax(s, v, m, u, w, cut, lengths)
    else:
        o, *last, _, _ = _attend(s, v, m, u, w, cut, lengths, backend)
    return o, PrefixState(*last)


def _check(
    s: Tensor, v: Tensor, state: PrefixState | None, reset: Tensor | None, lengths: Tensor | None
) -> torch.dtype:
    """Check the arguments and return the dtype of the state."""
    m, u, w = (None, None, None) if state is None else state
    named = (("s", s), ("v", v), ("state.m", m), ("state.u", u), ("state.w", w))
    dtype = state_dtype(NAME, *named)
    for name, x in named:
        if x is not None and x.is_complex():
            raise argument_error(NAME, name, x, "a real floating-point dtype", "has the wrong dtype")
    if s.ndim != 3 or s.shape[1] == 0:
        raise argument_error(NAME, "s", s, "(B, L, H) with at least one step")
    values = v.shape[-1] if v.ndim else 0
    check_shape(NAME, "v", v, (*s.shape, values), "(B, L, H, V)", s)
    per_head = (s.shape[0], s.shape[2])
    shapes = ((per_head, "(B, H)"), (per_head, "(B, H)"), ((*per_head, values), "(B, H, V)"))
    for (name, x), (shape, letters) in zip(named[2:], shapes, strict=True):
        if x is not None:
            check_shape(NAME, name, x, shape, letters, s)
    if reset is not None:
        check_mask(NAME, reset, s)
    if lengths is not None:
        check_shape(NAME, "lengths", lengths, s.shape[:1], "(B,)", s)
    return dtype


def _forward(
    s: Tensor,
    v: Tensor,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    cut: Tensor | None,
    lengths: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return OP.load(backend, s).forward(s, v, m, u, w, cut, lengths)


def _forward_fake(
    s: Tensor,
    v: Tensor,
    m: Tensor,
    u: Tensor,
    w: Tensor,
    cut: Tensor | None,
    lengths: Tensor | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    o, last_m, last_u, last_w, kept, share = (x.new_empty(x.shape) for x in (v, m, u, w, s, s))
    return o, last_m, last_u, last_w, kept, share


def _backward(
    grad: Tensor | None,
    grad_m: Tensor | None,
    grad_u: Tensor | None,
    grad_w: Tensor | None,
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
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    gradients = (grad, grad_m, grad_u, grad_w)
    filled = (torch.zeros_like(x) if g is None else g for g, x in zip(gradients, (v, m, u, w), strict=True))
    tensors = (s, v, m, u, w, cut, lengths, o, last_m, last_u, last_w, kept, share)
    return OP.load(backend, s).backward(*filled, *tensors)


def _backward_fake(
    grad: Tensor | None,
    grad_m: Tensor | None,
    grad_u: Tensor | None,
    grad_w: Tensor | None,
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
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    ds, dv, dm, du, dw = (x.new_empty(x.shape) for x in (s, v, m, u, w))
    return ds, dv, dm, du, dw


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.backend = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[4:])
    ctx.save_for_backward(*tensors, *output)


def _gradient(
    ctx: Any,
    grad: Tensor | None,
    grad_m: Tensor | None,
    grad_u: Tensor | None,
    grad_w: Tensor | None,
    *_: None,
) -> tuple[Tensor | None, ...]:
    results = _attend_backward(grad, grad_m, grad_u, grad_w, *ctx.saved_tensors, ctx.backend)
    wanted = ctx.needs_input_grad[:5]
    kept = (result if wants else None for result, wants in zip(results, wanted, strict=True))
    return (*kept, None, None, None)


_attend_backward = OP.node(f"{NAME}_backward", _backward, fake=_backward_fake)
_attend = OP.node(NAME, _forward, fake=_forward_fake, save=_save, gradient=_gradient)
