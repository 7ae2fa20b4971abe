"""`krylov_kernel` in plain torch: squares of A, two tables and one product.

With l = T i + j the kernel is (C A^{T i}) (A^j B): L / T rows times T columns, and both tables are doubled
with the squares A, A^2, A^4, ..., of which there are log2 L.
"""

from __future__ import annotations

import torch
from torch import Tensor

from statewise.core.ops.krylov_kernel.tables import columns, squares

__all__ = ["krylov_kernel"]


def krylov_kernel(A: Tensor, B: Tensor, C: Tensor, length: int) -> Tensor:
    """K (D, L)."""
    doublings = (length - 1).bit_length()
    powers = squares(A, doublings)[:doublings]
    fine = (doublings + 1) // 2
    near = columns(powers[:fine], B)
    far = columns([power.transpose(1, 2) for power in powers[fine:]], C)
    return torch.bmm(far.transpose(1, 2), near).flatten(1)[:, :length]
