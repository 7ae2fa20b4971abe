"""The maps of StableSSM: stable for any weight, invertible, and with the gradient that the paper wants."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statewise.core.layers.stability import inverse_magnitude, inverse_rate, magnitude, rate

KINDS = ["exp", "softplus", "inverse-square"]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(weight=st.floats(-30, 30))
def test_every_weight_is_stable(kind, weight: float) -> None:
    w = torch.tensor(weight, dtype=torch.float64)
    assert float(rate(w, kind)) > 0
    assert abs(float(magnitude(w, kind))) <= 1


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(value=st.floats(1e-6, 1 - 1e-6))
def test_inverses(kind, value: float) -> None:
    target = torch.tensor([value], dtype=torch.float64)
    torch.testing.assert_close(rate(inverse_rate(target, kind), kind), target, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        magnitude(inverse_magnitude(target, kind), kind), target, rtol=1e-9, atol=1e-12
    )


def test_published_points() -> None:
    # A rate of 1/2 is the real part of HiPPO-N: w = sqrt(1.5).
    torch.testing.assert_close(inverse_rate(torch.tensor([0.5]), "inverse-square"), torch.tensor([1.224745]))
    with pytest.raises(ValueError, match=r"reaches rates in \(0, 2.0\]"):
        inverse_rate(torch.tensor([3.0]), "inverse-square")


@pytest.mark.parametrize(("kind", "bounded"), [("exp", False), ("softplus", False), ("inverse-square", True)])
def test_sensitivity_relative_to_the_weight(kind, bounded: bool) -> None:
    # The gradient of the loss is bounded by |f'(w)| / f(w)^2; relative to w that is 2 for inverse-square.
    targets = torch.tensor([1e-2, 1e-4, 1e-6], dtype=torch.float64)
    w = inverse_rate(targets, kind).requires_grad_()
    (slope,) = torch.autograd.grad(rate(w, kind).sum(), w)
    ratio = (slope.abs() / targets**2 / w.abs()).detach()
    assert bool((ratio < 3).all()) == bounded
