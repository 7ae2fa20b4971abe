"""The selective state space of Mamba: per channel a diagonal system that depends on the input.

    delta_t = softplus(dt_t + bias)
    h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t        per channel, h (N)
    y_t = (<C_t, h_t> + D u_t) silu(z_t)

B and C are shared by all channels, or by the channels of a group. Where an episode starts at t the carry is
cut before the step and the write is kept. After the end of a row the state stands still and outputs are
zero.

Gradient. With dy_t the gradient of <C_t, h_t> and v_t the total gradient that reaches h_t,

    v_t = C_t dy_t + exp(delta_{t+1} A) v_{t+1}            dC_t = sum_D h_t dy_t
    d(delta_t u_t) = <B_t, v_t>                            dB_t = sum_D delta_t u_t v_t
    d(delta_t A) = v_t exp(delta_t A) h_{t-1}              dh_0 = exp(delta_0 A) v_0

where the last line is zero at a cut. The states (B, L, D, N) are never stored: one state out of SEGMENT is
kept and the others are computed again.

Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.ops.arguments import argument_error, check_mask, check_shape, state_dtype
from statewise.core.ops.dispatch import Op
from statewise.core.ops.selective_scan import reference

__all__ = ["selective_scan"]

NAME = "selective_scan"
OP = Op(NAME, __name__)
SEGMENT = 32
"""Steps from one state that is kept for the gradient to the next."""


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = True,
    h0: Tensor | None = None,
    *,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the selective state space over the second axis.

    Args:
        u: the input, (B, L, D).
        dt: the step sizes before bias and softplus, (B, L, D).
        A: the rates, (D, N), negative for a stable run.
        B: the input maps, (B, L, N), or (B, L, G, N) for G groups of neighbouring channels.
        C: the output maps, shaped as B.
        D: the skip connection, (D,).
        z: the gate before its silu, (B, L, D).
        dt_bias: added to dt, (D,).
        dt_softplus: whether the step size is the softplus of dt, or dt itself.
        h0: the state before the first step, (B, D, N); None is zero.
        reset: (B, L), true where an episode starts: the state before that step counts as zero.
        lengths: (B,) integers up to L, the end of each row; None is L for all.

    Returns:
        y (B, L, D) and the state after the last step (B, D, N). Both are differentiable, of the dtype that
        the arguments promote to and at least float32.

    Raises:
        UserError: an argument has the wrong shape, dtype or device; the message names it.
    """
    dtype = _check(u, dt, A, B, C, D, z, dt_bias, h0, reset, lengths)
    u, dt, A, B, C = (x.to(dtype) for x in (u, dt, A, B, C))
    B, C = (x.unsqueeze(2) if x.ndim == 3 else x for x in (B, C))
    h0 = None if h0 is None else h0.to(dtype)
    delta = dt if dt_bias is None else dt + dt_bias
    live = None
    if lengths is not None:
        # after the end a step size is zero, which is no softplus
        delta, dt_softplus = F.softplus(delta) if dt_softplus else delta, False
        live = (torch.arange(u.shape[1], device=u.device) < lengths.unsqueeze(1)).unsqueeze(-1)
        delta, u = (torch.where(live, x, 0) for x in (delta, u))
        reset = None if reset is None else reset & live.squeeze(-1)
    y, h_last = _run(u, delta, A, B, C, h0, reset, dt_softplus)
    y = y if D is None else y + D * u
    y = y if z is None else y * F.silu(z)
    return y if live is None else torch.where(live, y, 0), h_last


def _run(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    h0: Tensor | None,
    cut: Tensor | None,
    softplus: bool,
) -> tuple[Tensor, Tensor]:
    """The recurrence itself, on the backend for these tensors."""
    backend = OP.choose(u)
    if backend == "reference":
        return reference.selective_scan(u, F.softplus(dt) if softplus else dt, A, B, C, h0, cut)
    tensors = (u, dt, A, B, C, h0)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    y, h_last, _ = _scan(*tensors, cut, SEGMENT, keep, softplus, backend)
    return y, h_last


def _check(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    h0: Tensor | None,
    reset: Tensor | None,
    lengths: Tensor | None,
) -> torch.dtype:
    """Check the arguments and return the dtype of the state."""
    named = (("u", u), ("dt", dt), ("A", A), ("B", B), ("C", C), ("D", D), ("z", z), ("dt_bias", dt_bias))
    named = (*named, ("h0", h0))
    dtype = state_dtype(NAME, *named)
    for name, x in named:
        if x is not None and x.is_complex():
            raise argument_error(NAME, name, x, "a real floating-point dtype", "has the wrong dtype")
    if u.ndim != 3:
        raise argument_error(NAME, "u", u, "(B, L, D)")
    channels, states = u.shape[2], A.shape[-1] if A.ndim else 0
    check_shape(NAME, "A", A, (channels, states), "(D, N)", u)
    _check_maps(u, B, C, states)
    expected = [("dt", dt, u.shape, "(B, L, D)"), ("z", z, u.shape, "(B, L, D)")]
    expected += [("D", D, (channels,), "(D,)"), ("dt_bias", dt_bias, (channels,), "(D,)")]
    expected += [
        ("h0", h0, (len(u), channels, states), "(B, D, N)"),
        ("lengths", lengths, u.shape[:1], "(B,)"),
    ]
    for name, x, shape, letters in expected:
        if x is not None:
            check_shape(NAME, name, x, tuple(shape), letters, u)
    if reset is not None:
        check_mask(NAME, reset, u)
    return dtype


def _check_maps(u: Tensor, B: Tensor, C: Tensor, states: int) -> None:
    groups = B.shape[2:-1]
    if B.ndim not in (3, 4) or any(size < 1 or u.shape[2] % size for size in groups):
        raise argument_error(NAME, "B", B, f"(B, L, N) or (B, L, G, N) with G a divisor of D = {u.shape[2]}")
    check_shape(NAME, "B", B, (*u.shape[:2], *groups, states), "(B, L, [G,] N)", u)
    check_shape(NAME, "C", C, tuple(B.shape), "(B, L, [G,] N), as B", u)


def _forward(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    h0: Tensor | None,
    cut: Tensor | None,
    segment: int,
    keep: bool,
    softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return OP.load(backend, u).forward(u, dt, A, B, C, h0, cut, segment, keep, softplus)


def _forward_fake(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    h0: Tensor | None,
    cut: Tensor | None,
    segment: int,
    keep: bool,
    softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    (batch, length, channels), states = u.shape, A.shape[1]
    segments = (length + segment - 1) // segment
    saved = u.new_empty((batch, segments, states, channels) if keep else 0)
    return u.new_empty(u.shape), u.new_empty(batch, channels, states), saved


def _backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    cut: Tensor | None,
    saved: Tensor,
    segment: int,
    softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return OP.load(backend, u).backward(grad, grad_last, u, dt, A, B, C, cut, saved, segment, softplus)


def _backward_fake(
    grad: Tensor | None,
    grad_last: Tensor | None,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    cut: Tensor | None,
    saved: Tensor,
    segment: int,
    softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    du, ddt, dA, dB, dC = (x.new_empty(x.shape) for x in (u, dt, A, B, C))
    return du, ddt, dA, dB, dC, u.new_empty(u.shape[0], *A.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, _, cut, ctx.segment, _, ctx.softplus, ctx.backend = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(*tensors, cut, output[2])


def _gradient(ctx: Any, grad: Tensor | None, grad_last: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    results = _scan_backward(grad, grad_last, *ctx.saved_tensors, ctx.segment, ctx.softplus, ctx.backend)
    wanted = ctx.needs_input_grad[:6]
    kept = (result if wants else None for result, wants in zip(results, wanted, strict=True))
    return (*kept, *[None] * 5)


_scan_backward = OP.node(f"{NAME}_backward", _backward, fake=_backward_fake)
_scan = OP.node(NAME, _forward, fake=_forward_fake, save=_save, gradient=_gradient)
