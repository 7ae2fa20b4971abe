"""Losses of enhancement and separation. Letters: B batch, N samples, T frames, F bins, S speakers.

    si_snr        20 log10 |a s| / |y - a s|,  a = <y, s> / <s, s>, both without their mean: in dB
    compressed    mean of (|Y|^c - |S|^c)^2 and of | |Y|^c e^{j arg Y} - |S|^c e^{j arg S} |^2
    paper         - si_snr + 2F' [mse(Re M) + mse(Im M)] against the complex ratio mask S / X

The published mask loss divides by the noisy spectrum, where digital silence makes it meaningless: it starts
in the thousands and drowns the other term. The default therefore compares power-compressed spectra (Braun
and Tashev, "A consolidated view of loss functions for supervised deep learning-based speech enhancement",
2021).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["compressed_loss", "enhancement_loss", "mask_loss", "si_snr"]

EPSILON = 1e-8
COMPRESSION = 0.3
MAGNITUDE, COMPLEX, SIGNAL = 7.0, 3.0, 0.05
"""Weights of the parts of the default loss; the last per dB."""
LIMIT = 2.0
"""Parts of a target mask beyond this are set to one."""
QUIETEST = 1e-5
"""Root mean square below which a target is silence and has no signal-to-noise ratio."""


def si_snr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-noise ratio in dB, over the last axis: (..., N) to (...)."""
    estimate = estimate - estimate.mean(-1, keepdim=True)
    target = target - target.mean(-1, keepdim=True)
    energy = target.square().sum(-1, keepdim=True)
    aligned = (estimate * target).sum(-1, keepdim=True) / (energy + EPSILON) * target
    noise = (estimate - aligned).square().sum(-1)
    return 10 * torch.log10((aligned.square().sum(-1) + EPSILON) / (noise + EPSILON))


def compressed_loss(estimate: Tensor, target: Tensor, exponent: float = COMPRESSION) -> tuple[Tensor, Tensor]:
    """Squared errors of compressed magnitudes and of compressed spectra, (B, T, F, 2) to two of (B,)."""
    (y, shrunk), (s, shorter) = (_shrunk(one, exponent) for one in (estimate, target))
    magnitude = (y - s).square().mean((1, 2))
    difference = estimate * shrunk[..., None] - target * shorter[..., None]
    return magnitude, difference.square().sum(-1).mean((1, 2))


def enhancement_loss(
    estimate: Tensor, spectrum: Tensor, target: Tensor, clean: Tensor, level: Tensor
) -> Tensor:
    """The default loss of each example, (B,).

    Args:
        estimate: the enhanced signals, (B, N).
        spectrum: their spectra as masked, (B, T, F, 2).
        target: the clean signals, (B, N).
        clean: their spectra, (B, T, F, 2).
        level: root mean square of the noisy spectra over their bins, (B,).
    """
    scale = level.clamp(min=EPSILON)[:, None, None, None]
    magnitude, difference = compressed_loss(spectrum / scale, clean / scale)
    ratio = si_snr(estimate, target)
    audible = target.square().mean(-1).sqrt() > QUIETEST
    return MAGNITUDE * magnitude + COMPLEX * difference - SIGNAL * torch.where(audible, ratio, 0.0)


def mask_loss(noisy: Tensor, enhanced: Tensor, clean: Tensor) -> Tensor:
    """The published mask loss of each example, (B,): all spectra (B, T, F, 2) of one and the same transform.

    Both masks are S conj(X) / |X|^2; parts of the target beyond 2 are set to 1 with their sign.
    """
    power = noisy.square().sum(-1) + EPSILON
    wanted, mask = (_ratio(one, noisy, power) for one in (clean, enhanced))
    wanted = torch.where(wanted.abs() > LIMIT, wanted.sign(), wanted)
    window = 2 * (noisy.shape[2] - 1)
    return window * (mask - wanted).square().mean((1, 2)).sum(-1)


def _shrunk(spectrum: Tensor, exponent: float) -> tuple[Tensor, Tensor]:
    """|X|^c and |X|^(c-1) of (B, T, F, 2), (B, T, F) each; powers cost more than roots do."""
    power = spectrum.square().sum(-1) + EPSILON
    shrink = power ** ((exponent - 1) / 2)
    return shrink * power.sqrt(), shrink


def _ratio(of: Tensor, to: Tensor, power: Tensor) -> Tensor:
    """`of` / `to` as complex numbers, (B, T, F, 2)."""
    (a, b), (c, d) = of.unbind(-1), to.unbind(-1)
    return torch.stack([(a * c + b * d) / power, (b * c - a * d) / power], dim=-1)
