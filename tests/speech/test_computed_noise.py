"""Computed noise is finite, of power one, of every kind, and drawn again alike from one seed."""

from __future__ import annotations

import numpy as np
import pytest

from statewise.speech import computed_noise as module
from statewise.speech.computed_noise import KINDS, computed_noise

RATE = 16_000


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("length", [1, 800, 16_000])
def test_every_kind_makes_finite_noise_of_any_length(kind: str, length: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "KINDS", {kind: 1.0})
    made = [computed_noise(np.random.default_rng(seed), length, RATE) for seed in range(5)]
    assert all(one.shape == (length,) and one.dtype == np.float32 for one in made)
    assert np.isfinite(np.stack(made)).all()
    again = computed_noise(np.random.default_rng(3), length, RATE)
    assert np.array_equal(again, made[3])
    if length == 16_000:
        powers = np.square(np.stack(made)).mean(axis=1)
        assert (powers > 0.9).all()
        assert (powers < 1.5).all()


def test_kinds_sound_differently(monkeypatch: pytest.MonkeyPatch):
    """Flatness of the spectrum: Gaussian noise is flat, tones are not."""
    flatness = {}
    for kind in ("gaussian", "tones"):
        monkeypatch.setattr(module, "KINDS", {kind: 1.0})
        spectra = [
            np.abs(np.fft.rfft(computed_noise(np.random.default_rng(s), RATE, RATE))) for s in range(8)
        ]
        power = np.square(np.stack(spectra)) + 1e-6
        flatness[kind] = np.median(np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1))
    assert flatness["gaussian"] > 0.4
    assert flatness["tones"] < 0.1
