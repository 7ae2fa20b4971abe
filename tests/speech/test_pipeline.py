"""The pipeline from file to file: exact length, exact identity, the band above, channels, mix and limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statewise.speech.models import build
from statewise.speech.models.enhancer import Enhancer, enhance
from statewise.speech.models.frcrn import FRCRN, FRCRNConfig
from statewise.speech.models.noisy import Noisy, NoisyConfig
from statewise.speech.pipeline import EnhanceOptions, Pipeline

NOISY = build("noisy")[1]


class Quarter(Noisy):
    """A model that lets a quarter through: what it does can be told from what was done around it."""

    def forward(self, spectrum, state=None):
        return 0.25 * spectrum, state


QUARTER = Quarter(NoisyConfig())


def run(model: Enhancer, x: np.ndarray, rate: int, cut: int = 5000, **options: object) -> np.ndarray:
    pipeline = Pipeline(model, rate, x.shape[1], EnhanceOptions(**options))
    parts = [pipeline.push(x[at : at + cut]) for at in range(0, len(x), cut)]
    return np.concatenate([*parts, pipeline.finish()])


def noise(samples: int, channels: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((samples, channels))).astype(np.float32)


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)[
        :, None
    ]


def level(x: np.ndarray) -> float:
    """Root mean square without the ends."""
    return float(np.sqrt(np.mean(np.square(x[len(x) // 4 : -len(x) // 4]))))


@settings(max_examples=40)
@given(
    rate=st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]),
    samples=st.integers(0, 30_000),
    cut=st.integers(1, 20_000),
    channels=st.integers(1, 3),
)
def test_a_model_that_does_nothing_changes_nothing(rate: int, samples: int, cut: int, channels: int):
    x = noise(samples, channels)
    y = run(NOISY, x, rate, max(cut, samples // 50 + 1))
    assert y.shape == x.shape
    assert np.abs(y - x).max(initial=0) < 1e-5


@pytest.mark.parametrize("cut", [777, 16_000, 50_001])
def test_pieces_of_any_size_equal_the_whole_signal(cut: int):
    torch.manual_seed(0)
    model = FRCRN(FRCRNConfig(channels=2, causal=True)).eval()
    x = noise(50_001, 2)
    with torch.no_grad():
        whole = enhance(model, torch.from_numpy(x.T.copy())).numpy().T
    assert np.abs(run(model, x, 16_000, cut) - whole).max() < 1e-5


def test_a_model_of_whole_signals_works_in_windows_that_fade():
    x = noise(16_000 * 25)
    y = run(build("gating", {"deviations": -50.0, "hop": 320})[1], x, 16_000)  # every gate is open
    assert y.shape == x.shape
    assert np.abs(y - x).max() < 1e-5


@pytest.mark.parametrize(("policy", "kept"), [("follow", 0.25), ("keep", 1.0), ("drop", 0.0)])
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_the_band_above_is_treated_as_stated(policy: str, kept: float, rate: int):
    low, high = tone(5000, rate), tone(12_000, rate)
    assert level(run(QUARTER, low + high, rate, high_band=policy)) == pytest.approx(
        np.hypot(0.25, kept) * level(low), rel=0.03
    )
    assert level(run(QUARTER, low, rate, high_band=policy)) == pytest.approx(0.25 * level(low), rel=0.02)


def test_mix_and_limit():
    x = noise(16_000)
    assert np.allclose(run(QUARTER, x, 16_000, mix=0.0), x, atol=1e-6)
    assert np.allclose(run(QUARTER, x, 16_000, mix=0.5), 0.625 * x, atol=1e-5)
    assert np.allclose(run(QUARTER, x, 16_000, limit=6.0), 10 ** (-6 / 20) * x, atol=1e-5)
    assert np.allclose(run(QUARTER, x, 16_000, limit=20.0), 0.25 * x, atol=1e-5)


def test_channels_each_mid_and_mono():
    model = build("wiener")[1]
    x = noise(16_000, 2)
    each = run(model, x, 16_000, channels="each")
    assert np.allclose(each[:, :1], run(model, x[:, :1], 16_000), atol=1e-6)
    mono = run(model, x, 16_000, channels="mono")
    assert mono.shape == (16_000, 1)
    assert np.allclose(mono, run(model, x.mean(1, keepdims=True), 16_000), atol=1e-6)
    panned = np.concatenate([x[:, :1], 0.5 * x[:, :1]], axis=1)
    mid = run(model, panned, 16_000, channels="mid")
    assert np.allclose(mid[:, 1], 0.5 * mid[:, 0], atol=1e-5)  # the image stays where it was


def test_memory_does_not_grow_with_the_length():
    pipeline = Pipeline(NOISY, 48_000, 1, EnhanceOptions())
    held = []
    for _ in range(30):
        pipeline.push(noise(48_000))
        held.append(pipeline._waiting.length + pipeline._resampled.length)
    assert max(held[10:]) < max(held[:10]) + 500
    assert max(held) < 2 * 48_000
