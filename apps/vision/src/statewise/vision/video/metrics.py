"""How good predicted frames are: MSE and MAE summed over a frame, PSNR and SSIM, all of pixels from 0 to 1.

Sums over the pixels of a frame and means over frames are what the field's tables hold. SSIM: an 11-tap
Gaussian window of deviation 1.5, only where it lies inside the frame (Wang et al., 2004). There is no FVD
and no LPIPS: both need networks trained on other data.

Shapes: predicted and true frames (..., C, Y, X); one figure per frame (...).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["frame_scores", "ssim"]

_TAPS, _DEVIATION = 11, 1.5


def frame_scores(predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
    """MSE, MAE, PSNR (dB) and SSIM of each frame; predictions are first clipped to 0..1."""
    predicted = predicted.clamp(0, 1)
    gap = (predicted - true).flatten(-3)
    mean = gap.square().mean(-1)
    return {
        "mse": gap.square().sum(-1),
        "mae": gap.abs().sum(-1),
        "psnr": -10 * torch.log10(mean.clamp(min=1e-10)),
        "ssim": ssim(predicted, true),
    }


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each frame."""
    shape = x.shape[:-3]
    x, y = x.flatten(0, -4).float(), y.flatten(0, -4).float()
    taps = min(_TAPS, *x.shape[-2:])
    at = torch.arange(taps, device=x.device) - (taps - 1) / 2
    line = torch.exp(-at.square() / (2 * _DEVIATION**2))
    line = line / line.sum()
    channels = x.shape[1]
    window = (line[:, None] * line).expand(channels, 1, taps, taps)

    def blur(values: Tensor) -> Tensor:
        return F.conv2d(values, window, groups=channels)

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return found.mean((-3, -2, -1)).view(shape)
