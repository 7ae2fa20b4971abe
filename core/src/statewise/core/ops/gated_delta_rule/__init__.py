"""The gated delta rule: the state of DeltaNet, Gated DeltaNet and DeltaProduct, a matrix that recalls.

    S  <- a_t S                       S (K, V), a_t = exp(g_t)
    e_t = v_t - S^T k_t               what the key recalls wrongly
    S  <- S + k_t (beta_t e_t)^T      hence S <- (I - beta_t k_t k_t^T) a_t S + beta_t k_t v_t^T
    o_t = scale S^T q_t

DeltaProduct takes n such steps per token, each with its own key, value and beta: a product of n generalised
Householder matrices. The decay, and a reset, act before the first of them; the output is read after the last.

Along the key the transition has the eigenvalue 1 - beta_t |k_t|^2. Beyond [-1, 1] states grow without bound,
so keys are normalised here, or checked if that is switched off. Eigenvalues below zero (beta > 1) are what
tracking a state needs.

Gradient, with Z the gradient of S after step t, A = a_t S_{t-1} and u_t = beta_t e_t, last step first:

    Z  <- Z + scale q_t do_t^T       dq_t = scale S_t do_t
    du  = Z^T k_t                    dv_t = beta_t du        dbeta_t = <du, e_t>
    dk_t = Z u_t - A (beta_t du)
    Z  <- Z - k_t (beta_t du)^T      dg_t = <Z, A>           then Z <- a_t Z, zero where an episode starts

Yang et al., "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", 2024; Yang et al.,
"Gated Delta Networks: Improving Mamba2 with Delta Rule", 2025; Siems et al., "DeltaProduct: Improving
State-Tracking in Linear RNNs via Householder Products", 2025.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from statewise.core.errors import UserError
from statewise.core.ops.arguments import argument_error, as_dtype, check_mask, check_shape, state_dtype
from statewise.core.ops.dispatch import Op, is_written_out
from statewise.core.ops.gated_delta_rule import reference

__all__ = ["gated_delta_rule", "gated_delta_step", "unit"]

OP = Op("gated_delta_rule", __name__)

EPSILON = 1e-6
"""Added to the squared norm of a key, so that a key of zeros stays zero and its gradient bounded."""

SLACK = 1e-5
"""Relative excess of beta |k|^2 over 2 that counts as rounding."""


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None = None,
    *,
    householders: int = 1,
    scale: float | None = None,
    s0: Tensor | None = None,
    reset: Tensor | None = None,
    normalise: bool = True,
    chunk: int = 32,
) -> tuple[Tensor, Tensor]:
    """Run the gated delta rule over the second axis; n is `householders`.

    Args:
        q: queries (B, L, H, K), one per token; taken as they are.
        k: keys (B, L*n, H, K), the n of a token side by side.
        v: values (B, L*n, H, V).
        beta: strengths of the writes (B, L*n, H), in [0, 2].
        g: logarithms of the decays (B, L, H), at most 0; None is no decay.
        householders: n, delta steps per token.
        scale: factor of the queries, K ** -0.5 when None.
        s0: the state before the first step, (B, H, K, V); None is zero.
        reset: (B, L) bool, true where an episode starts: the state before that token counts as zero.
        normalise: divide each key by sqrt(|k|^2 + 1e-6). If not, beta |k|^2 must not exceed 2.
        chunk: steps solved at once by the backend `portable`; others ignore it.

    Returns:
        o (B, L, H, V) and the state after the last step (B, H, K, V), both differentiable, of the dtype that
        the arguments promote to and at least float32.

    Raises:
        UserError: an argument has the wrong shape, dtype or device; or, in eager calls on a CPU, the state
            would grow without bound: beta is below 0, or beta |k|^2 above 2 (the message has the norm).
    """
    dtype = _check(q, k, v, beta, g, householders, s0, reset, chunk)
    q, k, v, beta = (as_dtype(tensor, dtype) for tensor in (q, k, v, beta))
    g, s0 = as_dtype(g, dtype), as_dtype(s0, dtype)
    _refuse_growth(k, beta, normalise)
    if normalise:
        k = unit(k)
    factor: float = q.shape[-1] ** -0.5 if scale is None else float(scale)
    q, g, reset = _spread(q, g, reset, householders)
    backend = OP.choose(q)
    if backend == "reference":
        o, s_last = reference.gated_delta_rule(q, k, v, beta, g, s0, reset, factor)
    else:
        o, s_last = _rule(q, k, v, beta, g, s0, reset, factor, chunk, backend)
    return o if householders == 1 else o[:, householders - 1 :: householders], s_last


def gated_delta_step(
    q_t: Tensor,
    k_t: Tensor,
    v_t: Tensor,
    beta_t: Tensor,
    g_t: Tensor | None,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    """One token of `gated_delta_rule` in plain torch, for streams and exporters; keys are normalised.

    Args:
        q_t: the query (B, H, K).
        k_t: its n keys (B, n, H, K).
        v_t: its n values (B, n, H, V).
        beta_t: its n strengths (B, n, H), in [0, 2].
        g_t: the logarithm of the decay (B, H), or None.
        state: (B, H, K, V), at least float32.

    Returns:
        o_t (B, H, V), with the scale K ** -0.5, and the next state.
    """
    dtype = state.dtype
    q_t, keys, beta_t = as_dtype(q_t, dtype), unit(as_dtype(k_t, dtype)), as_dtype(beta_t, dtype)
    if g_t is not None:
        state = as_dtype(g_t, dtype).exp()[..., None, None] * state
    for k, v, beta in zip(keys.unbind(1), as_dtype(v_t, dtype).unbind(1), beta_t.unbind(1), strict=True):
        error = v - (k[..., None] * state).sum(-2)
        state = state + k[..., None] * (beta[..., None] * error)[..., None, :]
    return q_t.shape[-1] ** -0.5 * (q_t[..., None] * state).sum(-2), state


def unit(x: Tensor) -> Tensor:
    """Rows (..., K) divided by sqrt(|x|^2 + 1e-6): of norm 1 to rounding, or zero. At least float32."""
    backend = OP.choose(x)
    if backend == "cpu" and x.numel() and not is_written_out():
        return _unit(x, backend)[0]
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPSILON)


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    householders: int,
    s0: Tensor | None,
    reset: Tensor | None,
    chunk: int,
) -> torch.dtype:
    """Check the arguments and return the dtype of the state."""
    op = "gated_delta_rule"
    tensors = (("q", q), ("k", k), ("v", v), ("beta", beta), ("g", g), ("s0", s0))
    dtype = state_dtype(op, *tensors)
    if dtype.is_complex:
        name, tensor = next(item for item in tensors if item[1] is not None and item[1].is_complex())
        raise argument_error(op, name, tensor, "a real dtype", "has the wrong dtype")
    for name, number in (("householders", householders), ("chunk", chunk)):
        if number < 1:
            raise argument_error(op, name, number, "at least 1", "is too small")
    if q.ndim != 4 or 0 in q.shape:
        raise argument_error(op, "q", q, "(B, L, H, K), no axis empty")
    batch, length, heads, keys = q.shape
    steps = length * householders
    check_shape(op, "k", k, (batch, steps, heads, keys), "(B, L*n, H, K)", q)
    if v.ndim != 4 or v.shape[-1] == 0:
        raise argument_error(op, "v", v, "(B, L*n, H, V), no axis empty")
    check_shape(op, "v", v, (batch, steps, heads, v.shape[-1]), "(B, L*n, H, V)", q)
    check_shape(op, "beta", beta, (batch, steps, heads), "(B, L*n, H)", q)
    if g is not None:
        check_shape(op, "g", g, (batch, length, heads), "(B, L, H)", q)
    if s0 is not None:
        check_shape(op, "s0", s0, (batch, heads, keys, v.shape[-1]), "(B, H, K, V)", q)
    if reset is not None:
        check_mask(op, reset, q)
    return dtype


def _refuse_growth(k: Tensor, beta: Tensor, normalise: bool) -> None:
    """Raise where 1 - beta |k|^2 leaves [-1, 1].

    Reading the values waits for a device and breaks a graph, so only eager CPU tensors are looked into.
    """
    if torch.compiler.is_compiling() or is_in_torch_dispatch_mode() or k.device.type != "cpu":
        return
    with torch.no_grad():
        norms = torch.ones_like(beta) if normalise else torch.linalg.vector_norm(k, dim=-1)
        strength = beta * norms.square()
        largest, smallest = float(strength.max()), float(beta.min())
        if largest <= 2 * (1 + SLACK) and smallest >= 0:
            return
        worst = strength.argmax()
        norm, factor = float(norms.flatten()[worst]), float(beta.flatten()[worst])
    if smallest < 0:
        raise argument_error(
            "gated_delta_rule", "beta", f"a beta of {smallest:.4g}", "between 0 and 2", "is negative"
        )
    if largest <= 2 * (1 + SLACK):
        return
    raise UserError(
        "the state would grow without bound",
        where="gated_delta_rule",
        seen=f"beta = {factor:.4g}" + ("" if normalise else f" with a key of norm {norm:.4g}"),
        expected="beta |k|^2 at most 2, else 1 - beta |k|^2 lies beyond -1",
        fix="keep beta in [0, 2]" + ("" if normalise else " and keys at norm 1, or pass normalise=True"),
    )


def _spread(
    q: Tensor, g: Tensor | None, reset: Tensor | None, n: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """q, g and reset per delta step: decay and reset on the first step of a token, the query on the last."""
    if n == 1:
        return q, g, reset
    q = F.pad(q.unsqueeze(2), (0, 0, 0, 0, n - 1, 0)).flatten(1, 2)
    g = None if g is None else F.pad(g.unsqueeze(2), (0, 0, 0, n - 1)).flatten(1, 2)
    reset = None if reset is None else F.pad(reset.unsqueeze(2), (0, n - 1)).flatten(1, 2)
    return q, g, reset


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    scale: float,
    chunk: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    return OP.load(backend, q).forward(q, k, v, beta, g, s0, cut, scale, chunk)


def _forward_fake(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    scale: float,
    chunk: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    return q.new_empty(v.shape), q.new_empty(q.shape[0], q.shape[2], q.shape[3], v.shape[3])


def _backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    scale: float,
    chunk: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return OP.load(backend, q).backward(grad, grad_last, q, k, v, beta, g, s0, cut, scale, chunk)


def _backward_fake(
    grad: Tensor | None,
    grad_last: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    g: Tensor | None,
    s0: Tensor | None,
    cut: Tensor | None,
    scale: float,
    chunk: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    sizes = [0 if tensor is None else tensor.shape for tensor in (q, k, v, beta, g, s0)]
    dq, dk, dv, dbeta, dg, ds0 = (q.new_empty(size) for size in sizes)
    return dq, dk, dv, dbeta, dg, ds0


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale, ctx.chunk, ctx.backend = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    *needed, dg, ds0 = _rule_backward(grad, grad_last, *tensors, ctx.scale, ctx.chunk, ctx.backend)
    g, s0 = tensors[4:6]
    return *needed, None if g is None else dg, None if s0 is None else ds0, None, None, None, None


def _divide(x: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    return OP.load(backend, x).unit(x, EPSILON)


def _divide_fake(x: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape[:-1])


def _divide_backward(grad: Tensor, y: Tensor, factors: Tensor, backend: str) -> Tensor:
    return OP.load(backend, y).unit_backward(grad, y, factors)


def _divide_backward_fake(grad: Tensor, y: Tensor, factors: Tensor, backend: str) -> Tensor:
    return y.new_empty(y.shape)


def _divide_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.backend = inputs[1]
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*output)


def _divide_gradient(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return _unit_backward(grad, *ctx.saved_tensors, ctx.backend), None


_unit_backward = OP.node("gated_delta_unit_backward", _divide_backward, fake=_divide_backward_fake)
_unit = OP.node("gated_delta_unit", _divide, fake=_divide_fake, save=_divide_save, gradient=_divide_gradient)
_rule_backward = OP.node("gated_delta_rule_backward", _backward, fake=_backward_fake)
_rule = OP.node("gated_delta_rule", _forward, fake=_forward_fake, save=_save, gradient=_gradient)
