"""`linear_scan` on a real CUDA device against the reference on the CPU; run with `-m gpu`."""

from __future__ import annotations

import pytest
import torch

from statewise.core.ops import explain, linear_scan, use_backend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_the_device_equals_the_loop(dtype: torch.dtype):
    assert explain("linear_scan", "cuda")["backend"] == "gpu"
    a = (torch.rand(3, 130, 200, dtype=torch.float32) * 0.9).to(dtype)
    b = torch.randn(3, 130, 200, dtype=dtype)
    reset = torch.rand(3, 130) < 0.1
    with use_backend("reference"):
        exact, exact_last = linear_scan(a, b, reset=reset)
    h, last = linear_scan(a.cuda(), b.cuda(), reset=reset.cuda())
    torch.testing.assert_close(h.cpu(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(last.cpu(), exact_last, rtol=1e-5, atol=1e-5)
