"""Products of float32 matrices in bf16, summed in float32, where the processor has instructions for it.

What goes into a product is rounded to 8 bits of mantissa, what comes out is not: values and gradients keep
the range and the storage of float32. On processors without AMX or AVX512-BF16 nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["bf16_products"]


@contextmanager
def bf16_products() -> Iterator[None]:
    """Run the block with torch's matrix products on the CPU in bf16."""
    products = torch.backends.mkldnn.matmul
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before
