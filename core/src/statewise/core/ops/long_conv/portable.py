"""`long_conv` in plain torch: real transforms over time, the faster ones of torch on any device.

The sequence is padded far enough that nothing wraps around, up to a length with small prime factors. The
spectrum of the input is computed again for the gradient instead of being kept: it is twice the input.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["backward", "fast_length", "forward"]


@lru_cache(maxsize=256)
def fast_length(least: int) -> int:
    """The smallest 2^a 3^b 5^c that is at least `least`: a length that every FFT library takes quickly."""
    best = 1 << max(0, least - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            rest = -(-least // three)
            best = min(best, three << max(0, rest - 1).bit_length())
            three *= 3
        five *= 5
    return best


def forward(x: Tensor, kernel: Tensor, after: Tensor) -> Tensor:
    """The output (B, L, D)."""
    length = x.shape[1]
    n = _padded(length, kernel, after)
    spectrum = torch.fft.rfft(x.transpose(1, 2), n).mul_(_spectrum(kernel, after, n))
    return torch.fft.irfft(spectrum, n)[..., :length].transpose(1, 2).contiguous()


def backward(
    grad: Tensor, x: Tensor, kernel: Tensor, after: Tensor, wants_x: bool, wants_kernel: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x and of both kernels; those that are not wanted are empty."""
    length = x.shape[1]
    n = _padded(length, kernel, after)
    dx = dkernel = dafter = x.new_empty(0)
    incoming = torch.fft.rfft(grad.transpose(1, 2), n)
    if wants_kernel:
        # Conjugates the first: the correlation of the input with the gradient, summed over the batch.
        spectrum = torch.linalg.vecdot(torch.fft.rfft(x.transpose(1, 2), n), incoming, dim=0)
        lags = torch.fft.irfft(spectrum, n)
        dkernel = lags[:, : kernel.shape[1]].clone()
        dafter = lags[:, n - after.shape[1] :].flip(1)
    if wants_x:
        incoming.mul_(_spectrum(kernel, after, n).conj())
        dx = torch.fft.irfft(incoming, n)[..., :length].transpose(1, 2).contiguous()
    return dx, dkernel, dafter if wants_kernel else dafter.clone()


def _padded(length: int, kernel: Tensor, after: Tensor) -> int:
    """A fast length at which no lag wraps around onto an output that is kept."""
    return fast_length(length + max(kernel.shape[1] - 1, after.shape[1]))


def _spectrum(kernel: Tensor, after: Tensor, n: int) -> Tensor:
    """The spectrum (D, n/2 + 1) of both kernels on a circle of n lags, the negative ones from its end."""
    if after.shape[1]:
        between = kernel.new_zeros(kernel.shape[0], n - kernel.shape[1] - after.shape[1])
        kernel = torch.cat([kernel, between, after.flip(1)], 1)
    return torch.fft.rfft(kernel, n)
