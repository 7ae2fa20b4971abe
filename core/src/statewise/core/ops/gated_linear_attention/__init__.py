"""Linear attention with decay: the state of GLA, RetNet, Mamba-2, Mamba-3, HGRN2, LightNet and Hydra.

    S_t = exp(g_t) S_{t-1} + k_t v_t^T        S (K, V) per head, g_t <= 0 the log decay of the rows of S
    o_t = scale S_t^T q_t

g is absent (no decay), a constant per head, a number per token and head, or one per token, head and key.
Where an episode starts at t the carry is cut before the step and the write is kept: S_t = k_t v_t^T. After
the end of a row the state stands still and outputs are zero. A reversed run goes from the end of each row
to its start and is cut between t and t + 1 where an episode starts at t + 1, so that both directions see
the same episodes.

Gradient. With do_t the gradient of o_t and Z_t the total gradient that reaches S_t,

    Z_t = scale q_t do_t^T + exp(g_{t+1}) Z_{t+1}
    dq_t = scale S_t do_t,   dk_t = Z_t v_t,   dv_t = Z_t^T k_t,   dg_t = sum_V exp(g_t) S_{t-1} Z_t

and dS_0 = exp(g_0) Z_0. Only the arguments are stored: states are computed again. dg is formed as written,
not as the running sum of q dq - k dk that equals it: that one loses all digits where decays are strong.

Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient Training", 2024.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statewise.core.errors import UserError
from statewise.core.ops.arguments import argument_error, check_mask, check_shape, state_dtype
from statewise.core.ops.dispatch import Op
from statewise.core.ops.gated_linear_attention import reference
from statewise.core.ops.gated_linear_attention.reference import gated_linear_attention_step

__all__ = ["gated_linear_attention", "gated_linear_attention_step"]

NAME = "gated_linear_attention"
OP = Op(NAME, __name__)


def gated_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None = None,
    *,
    scale: float | None = None,
    s0: Tensor | None = None,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """Run S_t = exp(g_t) S_{t-1} + k_t v_t^T and read o_t = scale S_t^T q_t over the second axis.

    Args:
        q: queries, (B, L, H, K).
        k: keys, (B, L, H, K).
        v: values, (B, L, H, V).
        g: log decays: None, (H,) constant, (B, L, H) per token or (B, L, H, K) per key. Zero or below for a
            stable run; nothing is clamped, -inf forgets all.
        scale: factor of the outputs; None is K^-1/2. Mamba-2, Mamba-3 and LightNet want 1.
        s0: the state before the first step, (B, H, K, V); None is zero.
        reset: (B, L), true where an episode starts: the state before that step counts as zero.
        lengths: (B,) integers up to L, the end of each row; None is L for all.
        reverse: run from the end of each row to its start; s0 then enters at the end.
        chunk: tokens per matrix product, on the backends that have them (portable, gpu).

    Returns:
        o (B, L, H, V) and the state after the last step taken (B, H, K, V). Both are differentiable, of the
        dtype that the arguments promote to and at least float32.

    Raises:
        UserError: an argument has the wrong shape, dtype or device; the message names it.
    """
    dtype = _check(q, k, v, g, s0, reset, lengths, chunk)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    g, s0 = (None if x is None else x.to(dtype) for x in (g, s0))
    factor = q.shape[-1] ** -0.5 if scale is None else float(scale)
    cut = None if reset is None else _cuts(reset, lengths, reverse)
    backend = OP.choose(q)
    if backend == "reference":
        return reference.gated_linear_attention(q, k, v, g, s0, cut, lengths, factor, reverse)
    return _attend(q, k, v, g, s0, cut, lengths, factor, reverse, chunk, backend)


def _cuts(reset: Tensor, lengths: Tensor | None, reverse: bool) -> Tensor:
    """Where nothing is carried into a step: at a reset, or one step before it in a reversed run."""
    if lengths is not None:
        reset = reset & (torch.arange(reset.shape[1], device=reset.device) < lengths.unsqueeze(1))
    return torch.nn.functional.pad(reset[:, 1:], (0, 1)) if reverse else reset


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    reset: Tensor | None,
    lengths: Tensor | None,
    chunk: int,
) -> torch.dtype:
    """Check the arguments and return the dtype of the state."""
    named = (("q", q), ("k", k), ("v", v), ("g", g), ("s0", s0))
    dtype = state_dtype(NAME, *named)
    if dtype.is_complex:
        name, tensor = next((name, x) for name, x in named if x is not None and x.is_complex())
        raise argument_error(NAME, name, tensor, "a real floating-point dtype", "has the wrong dtype")
    if q.ndim != 4:
        raise argument_error(NAME, "q", q, "(B, L, H, K)")
    check_shape(NAME, "k", k, tuple(q.shape), "(B, L, H, K)", q)
    values = v.shape[-1] if v.ndim else 0
    check_shape(NAME, "v", v, (*q.shape[:3], values), "(B, L, H, V)", q)
    if g is not None:
        _check_decay(g, q)
    if s0 is not None:
        check_shape(NAME, "s0", s0, (q.shape[0], *q.shape[2:], values), "(B, H, K, V)", q)
    if reset is not None:
        check_mask(NAME, reset, q)
    if lengths is not None:
        check_shape(NAME, "lengths", lengths, q.shape[:1], "(B,)", q)
    if chunk < 1:
        raise UserError("'chunk' is too small", where=NAME, seen=str(chunk), expected="at least 1")
    return dtype


def _check_decay(g: Tensor, q: Tensor) -> None:
    shape = {1: q.shape[2:3], 3: q.shape[:3], 4: q.shape}.get(g.ndim)
    if shape is None:
        raise argument_error(NAME, "g", g, "(H,), (B, L, H) or (B, L, H, K)")
    check_shape(NAME, "g", g, tuple(shape), "(H,), (B, L, H) or (B, L, H, K)", q)


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    scale: float,
    reverse: bool,
    chunk: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    return OP.load(backend, q).forward(q, k, v, g, s0, cut, lengths, scale, reverse, chunk)


def _forward_fake(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    scale: float,
    reverse: bool,
    chunk: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    batch, _, heads, keys = q.shape
    return v.new_empty(v.shape), q.new_empty(batch, heads, keys, v.shape[-1])


def _backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    scale: float,
    reverse: bool,
    chunk: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    module = OP.load(backend, q)
    return module.backward(grad, grad_last, q, k, v, g, s0, cut, lengths, scale, reverse, chunk)


def _backward_fake(
    grad: Tensor | None,
    grad_last: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    lengths: Tensor | None,
    scale: float,
    reverse: bool,
    chunk: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    dg = q.new_empty(0 if g is None else g.shape)
    batch, _, heads, keys = q.shape
    ds0 = q.new_empty(batch, heads, keys, v.shape[-1])
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), dg, ds0


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale, ctx.reverse, ctx.chunk, ctx.backend = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
    results = _attend_backward(
        grad, grad_last, *ctx.saved_tensors, ctx.scale, ctx.reverse, ctx.chunk, ctx.backend
    )
    wanted = ctx.needs_input_grad[:5]
    kept = (result if wants else None for result, wants in zip(results, wanted, strict=True))
    return (*kept, *[None] * 6)


_attend_backward = OP.node(f"{NAME}_backward", _backward, fake=_backward_fake)
_attend = OP.node(NAME, _forward, fake=_forward_fake, save=_save, gradient=_gradient)
