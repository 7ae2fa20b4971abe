"""`linear_scan` on a real CUDA device against the reference on the CPU; run with `-m gpu`."""

from __future__ import annotations

import pytest
import torch

from statewise.core.ops import explain, linear_scan, use_backend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_the_device_equals_the_loop(dtype: torch.dtype, reverse: bool):
    assert explain("linear_scan", "cuda")["backend"] == "gpu"
    a = (torch.rand(3, 130, 200) * 0.9).to(dtype)
    b, h0 = torch.randn(3, 130, 200, dtype=dtype), torch.randn(3, 200, dtype=dtype)
    reset = torch.rand(3, 130) < 0.1

    def run(*inputs: torch.Tensor) -> list[torch.Tensor]:
        leaves = [item.clone().requires_grad_() for item in inputs]
        h, last = linear_scan(*leaves, reset=reset.to(inputs[0].device), reverse=reverse)
        loss = h.abs().sum() + last.abs().sum()
        return [h, last, *torch.autograd.grad(loss, leaves)]

    with use_backend("reference"):
        exact = run(a, b, h0)
    for value, wanted in zip(run(a.cuda(), b.cuda(), h0.cuda()), exact, strict=True):
        torch.testing.assert_close(value.cpu(), wanted, rtol=1e-4, atol=1e-4)
