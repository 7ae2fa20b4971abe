"""`s4_kernel` in plain torch: the discrete system in real coordinates, then its Krylov kernel."""

from __future__ import annotations

from torch import Tensor

from statewise.core.ops.krylov_kernel import portable
from statewise.core.ops.s4_kernel.bilinear import realise

__all__ = ["s4_kernel"]


def s4_kernel(dt: Tensor, Lambda: Tensor, P: Tensor, B: Tensor, C: Tensor, length: int) -> Tensor:
    """K (D, L)."""
    return portable.krylov_kernel(*realise(dt, Lambda, P, B, C), length)
