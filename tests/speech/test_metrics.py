"""Measures against their definitions and against the packages that define them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import DataError, UnknownNameError
from statewise.speech import metrics
from statewise.speech.losses import compressed_loss, mask_loss, si_snr
from tests.speech.sounds import hum

RATE = 16_000


def speech(seconds: float = 2.0) -> np.ndarray:
    return hum(seconds, RATE)[:, 0].astype(np.float32)


@given(ratio=st.floats(-20, 40), gain=st.floats(0.01, 100))
def test_si_sdr_of_orthogonal_noise_is_its_ratio(ratio: float, gain: float):
    rng = np.random.default_rng(0)
    s = rng.standard_normal(4000)
    s -= s.mean()
    n = rng.standard_normal(4000)
    n -= n.mean()
    n -= (n @ s) / (s @ s) * s
    n *= np.linalg.norm(s) / np.linalg.norm(n) * 10 ** (-ratio / 20)
    assert metrics.si_sdr(gain * (s + n), s) == pytest.approx(ratio, abs=1e-6)
    loss = si_snr(torch.from_numpy(gain * (s + n)), torch.from_numpy(s))
    assert float(loss) == pytest.approx(ratio, abs=1e-3)


def test_extremes_of_si_sdr():
    s = speech()
    assert metrics.si_sdr(s, s) > 100
    assert np.isnan(metrics.si_sdr(s, np.zeros_like(s)))
    assert metrics.evaluate(np.zeros_like(s), s, RATE, ["si_sdr"]) == {"si_sdr": None}


@pytest.mark.parametrize("late", [-700, -1, 0, 320, 800])
def test_lag_is_found_and_taken_away(late: int):
    s = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    moved = np.concatenate([np.zeros(max(late, 0), np.float32), s])[max(-late, 0) :]
    moved = np.pad(moved, (0, max(0, RATE - len(moved))))[:RATE]
    estimate, reference, lag = metrics.align(moved, s, RATE)
    assert lag == late
    assert metrics.si_sdr(estimate, reference) > 25


def test_stoi_is_that_of_pystoi_and_none_without_speech():
    from pystoi import stoi

    s = speech(3.0)
    noisy = s + 0.05 * np.random.default_rng(1).standard_normal(len(s)).astype(np.float32)
    assert metrics.stoi(noisy, s, RATE) == pytest.approx(stoi(s, noisy, RATE), abs=1e-12)
    assert metrics.stoi(noisy[:2000], s[:2000], RATE) is None


def test_pesq_is_that_of_the_package_or_names_the_extra():
    s = speech(3.0)
    try:
        import pesq
    except ImportError:
        with pytest.raises(Exception, match=r"statewise-speech\[pesq\]"):
            metrics.pesq_wb(s, s, RATE)
        return
    noisy = s + 0.05 * np.random.default_rng(1).standard_normal(len(s)).astype(np.float32)
    assert metrics.pesq_wb(noisy, s, RATE) == pytest.approx(pesq.pesq(RATE, s, noisy, "wb"))


def test_wrong_names_and_lengths_are_refused():
    s = speech()
    with pytest.raises(UnknownNameError, match="did you mean 'stoi'"):
        metrics.evaluate(s, s, RATE, ["stoy"])
    with pytest.raises(DataError, match="differ in length"):
        metrics.evaluate(s[: len(s) // 2], s, RATE)


def test_compressed_loss_is_zero_only_for_the_target():
    s = torch.randn(2, 5, 9, 2)
    same = compressed_loss(s, s)
    assert all(torch.equal(part, torch.zeros(2)) for part in same)
    turned = torch.stack([-s[..., 1], s[..., 0]], -1)  # by a quarter: the magnitude does not see it
    magnitude, difference = compressed_loss(turned, s)
    assert magnitude.max() < 1e-10
    assert difference.min() > 0.1
    louder, _ = compressed_loss(2 * s, s)
    expected = ((2**0.3 - 1) * (s.square().sum(-1) + 1e-8) ** 0.15).square().mean((1, 2))
    assert torch.allclose(louder, expected, rtol=1e-4)


def test_paper_loss_is_the_error_of_the_complex_ratio_masks():
    x, s = (torch.randn(1, 3, 5, 2, dtype=torch.float64) for _ in range(2))
    as_complex = [torch.view_as_complex(one.contiguous()) for one in (x, s)]
    mask = torch.full((1, 3, 5), 0.3 + 0.1j, dtype=torch.complex128)
    y = torch.view_as_real(mask * as_complex[0])
    target = torch.view_as_real(as_complex[1] / as_complex[0])
    target = torch.where(target.abs() > 2, target.sign(), target)
    parts = (torch.view_as_real(mask) - target).square().mean((1, 2))
    assert float(mask_loss(x, y, s)) == pytest.approx(8 * float(parts.sum()), rel=1e-5)


def test_losses_have_gradients_at_silence():
    zero = torch.zeros(1, 4, 5, 2, requires_grad=True)
    sum(part.sum() for part in compressed_loss(zero, torch.zeros(1, 4, 5, 2))).backward()
    assert torch.isfinite(zero.grad).all()
    x = torch.zeros(1, 100, requires_grad=True)
    si_snr(x, torch.zeros(1, 100)).sum().backward()
    assert torch.isfinite(x.grad).all()
