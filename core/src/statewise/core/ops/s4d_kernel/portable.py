"""`s4d_kernel` in plain torch: two small tables of powers and one matrix product per channel.

With l = T i + j the power is a^{T i} a^j: a table of L / T coarse powers, times w, and one of T fine ones.
For T near the square root of L both are small, and their product is all of the kernel. A table is doubled
from one entry: its first half times one power is the second. That costs no exponential, and its rounding, in
float64, grows with the logarithm of the length. Complex products become real ones of twice the inner size.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["backward", "forward"]


def forward(a: Tensor, w: Tensor, length: int, double: bool) -> Tensor:
    """K (D, L)."""
    fine, coarse = _split(length)
    dtype = torch.float64 if double else torch.float32
    left = _real(_table(w, _power(a, fine), coarse).conj(), dtype)
    right = _real(_table(torch.ones_like(a), a, fine), dtype)
    kernel = torch.bmm(left, right.transpose(1, 2)).flatten(1)[:, :length]
    return kernel.mul(2) if w.is_complex() else kernel.clone()


def backward(grad: Tensor, a: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a and w."""
    length, dtype = grad.shape[1], grad.dtype
    fine, coarse = _split(length)
    grid = torch.nn.functional.pad(grad, (0, fine * coarse - length)).unflatten(1, (coarse, fine))
    narrow = torch.promote_types(dtype, torch.complex64) if a.is_complex() else dtype
    one = torch.ones_like(a)
    near, far = _table(one, a, fine).to(narrow), _table(one, _power(a, fine), coarse).to(narrow)
    # Sums over the fine index of dK a^j and of dK j a^{j-1}, for every coarse one.
    plain = _back(torch.bmm(grid, _real(near, dtype)), narrow)
    slope = _back(torch.bmm(grid, _real(_slopes(near, 1), dtype)), narrow)
    # d/da of a^{T i} = T i a^{T (i-1)} a^{T-1}: nothing is divided by a, which may be zero.
    lifted = _slopes(far, fine).mul_(near[:, -1:])
    dw = (far * plain).sum(1).to(w.dtype)
    da = far.mul_(slope).add_(lifted.mul_(plain)).sum(1).to(w.dtype) * w
    return (2 * da.conj_physical(), 2 * dw.conj_physical()) if a.is_complex() else (da, dw)


def _split(length: int) -> tuple[int, int]:
    """T, a power of two near the square root of the length, and how many times it is needed."""
    fine = 1 << ((length - 1).bit_length() + 1) // 2
    return fine, -(-length // fine)


def _power(a: Tensor, exponent: int) -> Tensor:
    """a^exponent for a power of two."""
    for _ in range(exponent.bit_length() - 1):
        a = a * a
    return a


def _table(first: Tensor, ratio: Tensor, count: int) -> Tensor:
    """first, first ratio, first ratio^2, ...: (D, count, N)."""
    table = first.new_empty(first.shape[0], count, first.shape[1])
    table[:, 0] = first
    done = 1
    while done < count:
        more = min(done, count - done)
        torch.mul(table[:, :more], ratio[:, None], out=table[:, done : done + more])
        ratio = ratio * ratio
        done *= 2
    return table


def _slopes(table: Tensor, stride: int) -> Tensor:
    """For each k, stride k a^{k-1}, from the table of a^k."""
    counts = stride * torch.arange(1, table.shape[1], device=table.device)
    slopes = torch.empty_like(table)
    slopes[:, 0] = 0
    torch.mul(table[:, :-1], counts[:, None], out=slopes[:, 1:])
    return slopes


def _real(table: Tensor, dtype: torch.dtype) -> Tensor:
    """A table as real numbers of `dtype`, the parts of a complex one side by side: (D, K, N or 2 N)."""
    if not table.is_complex():
        return table.to(dtype)
    table = table.resolve_conj().to(torch.promote_types(dtype, torch.complex64))
    return torch.view_as_real(table).flatten(2)


def _back(sums: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of `_real`."""
    return torch.view_as_complex(sums.unflatten(2, (-1, 2))) if dtype.is_complex else sums
