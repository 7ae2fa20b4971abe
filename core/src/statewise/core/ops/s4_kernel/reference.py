"""The loop that defines `s4_kernel`, on the whole matrix with both conjugates of each pair."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["s4_kernel"]


def s4_kernel(dt: Tensor, Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor, length: int) -> Tensor:
    """K_l = C a^l b with a = (2/dt - A)^{-1} (2/dt + A) and b = 2 (2/dt - A)^{-1} B, A = Lambda - P P*."""
    Lambda, P, B, C = (torch.cat([tensor, tensor.conj()], 1) for tensor in (Lambda, P, B, C))
    A = torch.diag_embed(Lambda) - P[:, :, None] * P[:, None].conj()
    rate = torch.diag_embed((2 / dt)[:, None].expand(Lambda.shape).to(A.dtype))
    h, steps = torch.linalg.solve(rate - A, 2 * B), []
    for _ in range(length):
        steps.append((C * h).sum(1).real)
        h = torch.linalg.solve(rate - A, ((rate + A) @ h[..., None])[..., 0])
    return torch.stack(steps, 1)
