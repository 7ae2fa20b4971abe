"""`linear_scan` in plain torch: the loop over time with its gradient written out; autograd records nothing.

Works on any device and dtype. Each step is one fused multiply-add into the output.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["backward", "forward"]


def forward(
    a: Tensor, b: Tensor, h0: Tensor | None, cut: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """All states (B, L, *F) and the last one (B, *F)."""
    h = torch.empty_like(b, memory_format=torch.contiguous_format)
    carry = b.new_zeros((b.shape[0], *b.shape[2:])) if h0 is None else h0
    return h, _run(h, b.unbind(1), a, carry, cut, _order(b.shape[1], reverse)).clone()


def backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    a: Tensor,
    h: Tensor,
    h0: Tensor | None,
    cut: Tensor | None,
    reverse: bool,
    wants_a: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a (empty unless wanted), b and h0."""
    order = _order(h.shape[1], reverse)
    d = torch.empty_like(h)
    last = torch.zeros_like(h[:, 0]) if grad_last is None else grad_last
    gradients = h.new_zeros(()).expand(h.shape) if grad is None else grad
    carry = _run_back(d, gradients.unbind(1), a.conj_physical(), last, cut, order)
    da = _transition_gradient(a, d, h, h0, cut, reverse) if wants_a else a.new_empty(0)
    return da, d, carry.clone()


def _order(length: int, reverse: bool) -> list[int]:
    steps = list(range(length))
    return steps[::-1] if reverse else steps


def _transitions(a: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    """a_t for every t: without a time axis, or with one of length 1, the same tensor again and again."""
    length, whole = h.shape[1], a.view([1] * (h.ndim - a.ndim) + list(a.shape))
    steps = whole.to(h.dtype).unbind(1)
    return steps if whole.shape[1] == length else steps * length


def _cuts(cut: Tensor | None, like: Tensor) -> dict[int, Tensor]:
    """The steps at which some row is cut, with the mask of the rows shaped for broadcasting."""
    if cut is None:
        return {}
    masks = cut.view(*cut.shape, *[1] * (like.ndim - 2)).unbind(1)
    return {t: masks[t] for t in cut.any(0).nonzero().flatten().tolist()}


def _run(
    h: Tensor, writes: tuple[Tensor, ...], a: Tensor, carry: Tensor, cut: Tensor | None, order: list[int]
) -> Tensor:
    """Fill h in the order given and return the state after the last step."""
    transitions, states, cuts = _transitions(a, h), h.unbind(1), _cuts(cut, h)
    for t in order:
        if t in cuts:
            kept = torch.mul(transitions[t], carry).masked_fill(cuts[t], 0)
            torch.add(writes[t], kept, out=states[t])
        else:
            torch.addcmul(writes[t], transitions[t], carry, out=states[t])
        carry = states[t]
    return carry


def _run_back(
    d: Tensor, gradients: tuple[Tensor, ...], a: Tensor, carry: Tensor, cut: Tensor | None, order: list[int]
) -> Tensor:
    """Fill d against the order given and return the gradient of the state before the first step."""
    transitions, totals, cuts = _transitions(a, d), d.unbind(1), _cuts(cut, d)
    later = None
    for t in reversed(order):
        if later is None:
            torch.add(gradients[t], carry, out=totals[t])
        elif later in cuts:
            carried = torch.mul(transitions[later], totals[later]).masked_fill(cuts[later], 0)
            torch.add(gradients[t], carried, out=totals[t])
        else:
            torch.addcmul(gradients[t], transitions[later], totals[later], out=totals[t])
        later = t
    if later is None:
        return carry
    first = torch.mul(transitions[later], totals[later])
    return first.masked_fill(cuts[later], 0) if later in cuts else first


def _transition_gradient(
    a: Tensor, d: Tensor, h: Tensor, h0: Tensor | None, cut: Tensor | None, reverse: bool
) -> Tensor:
    """d_t conj(h_{t-1}), zero where cut, summed over the axes along which a is shared."""
    first = torch.zeros_like(h[:, :1]) if h0 is None else h0.unsqueeze(1)
    before = torch.cat([h, first], 1)[:, 1:] if reverse else torch.cat([first, h], 1)[:, :-1]
    da = before.conj() * d
    if cut is not None:
        da.masked_fill_(cut.view(*cut.shape, *[1] * (h.ndim - 2)), 0)
    return (da if a.is_complex() or not da.is_complex() else da.real.contiguous()).sum_to_size(a.shape)
