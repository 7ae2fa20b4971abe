"""Noise that was never recorded: what recordings of a hundred kinds leave out, made anew for every example.

    gaussian   white noise that may swell, up to six times a second
    insects    narrow bands of noise in trains of pulses: crickets, fans, birds far away
    events     blows that ring and die away: dishes, keys, steps, doors
    tones      gliding harmonics in bursts: barks, sirens, motors, notes

All are of power one; a filter of the mixer colours them. Letters: N samples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["KINDS", "computed_noise"]


def computed_noise(rng: np.random.Generator, length: int, sample_rate: int) -> np.ndarray:
    """Noise of a random kind, (N,) float32; half of what is not Gaussian lies on a Gaussian floor.

    Args:
        rng: of all chance in it.
        length: N.
        sample_rate: in Hz.
    """
    kind = rng.choice(tuple(KINDS), p=tuple(KINDS.values()))
    noise = _MAKERS[kind](rng, length, sample_rate)
    noise /= np.sqrt(np.mean(np.square(noise))) + np.float32(1e-6)
    if kind != "gaussian" and rng.random() < 0.5:
        floor = rng.standard_normal(length, dtype=np.float32)
        noise += floor * np.float32(10 ** (-rng.uniform(5, 30) / 20))
    return noise


def _gaussian(rng: np.random.Generator, length: int, sample_rate: int) -> np.ndarray:
    noise = rng.standard_normal(length, dtype=np.float32)
    if rng.random() < 0.3:
        noise *= 1 + np.float32(0.9) * _sine(rng, rng.uniform(0.3, 6), length, sample_rate)
    return noise


def _insects(rng: np.random.Generator, length: int, sample_rate: int) -> np.ndarray:
    total = np.zeros(length, dtype=np.float32)
    for _ in range(int(rng.integers(1, 5))):
        wide = max(2, int(sample_rate / np.exp(rng.uniform(np.log(20), np.log(800)))))
        slow = _smooth(rng.standard_normal(length + wide, dtype=np.float32), wide)[:length]
        centre = np.exp(rng.uniform(np.log(0.06), np.log(0.47))) * sample_rate
        band = slow * _sine(rng, centre, length, sample_rate)
        pulses = np.maximum(_sine(rng, rng.uniform(4, 70), length, sample_rate) - rng.uniform(-1, 0.7), 0)
        gate = _sine(rng, rng.uniform(0.3, 4), length, sample_rate) > rng.uniform(-1.1, 0.5)
        band *= pulses if rng.random() < 0.7 else np.float32(1.0)
        band *= gate if rng.random() < 0.7 else np.float32(1.0)
        total += band * np.float32(rng.uniform(0.2, 1.0) / (np.abs(band).max() + 1e-6))
    return total


def _events(rng: np.random.Generator, length: int, sample_rate: int) -> np.ndarray:
    total = np.zeros(length, dtype=np.float32)
    seconds = length / sample_rate
    count = 1 + rng.poisson(seconds * np.exp(rng.uniform(np.log(0.7), np.log(15))))
    decay = np.exp(rng.uniform(np.log(0.003), np.log(0.2), size=2)) * sample_rate
    for _ in range(count):
        begin = int(rng.integers(length))
        die = rng.uniform(decay.min(), decay.max())
        n = min(length - begin, int(7 * die) + 1)
        t = np.arange(n, dtype=np.float32)
        sound = rng.standard_normal(n, dtype=np.float32) * np.float32(rng.uniform(0, 0.5))
        for _ in range(int(rng.integers(0, 5))):
            pitch = np.exp(rng.uniform(np.log(0.01), np.log(0.45)))
            sound += np.sin(np.float32(2 * np.pi * pitch) * t) * np.float32(rng.uniform(0, 1))
        loud = 10 ** (-rng.uniform(0, 20) / 20)
        total[begin : begin + n] += sound * np.exp(-t / np.float32(die)) * np.float32(loud)
    return total


def _tones(rng: np.random.Generator, length: int, sample_rate: int) -> np.ndarray:
    total = np.zeros(length, dtype=np.float32)
    for _ in range(int(rng.integers(1, 4))):
        pitch = np.exp(rng.uniform(np.log(50), np.log(2000)))
        bends = rng.normal(0, rng.uniform(0, 0.4), size=int(rng.integers(2, 9)))
        glide = np.interp(np.linspace(0, len(bends) - 1, length), np.arange(len(bends)), bends)
        phase = 2 * np.pi * np.cumsum(pitch * np.exp(glide)) / sample_rate
        phase = phase.astype(np.float32)
        most = int(min(16, max(1, 0.45 * sample_rate / (pitch * np.exp(glide.max())))))
        fall = rng.uniform(0, 1.5)
        voice = np.zeros(length, dtype=np.float32)
        for harmonic in range(1, int(rng.integers(1, most + 1)) + 1):
            voice += np.sin(harmonic * phase) * np.float32(rng.uniform(0.3, 1) * harmonic**-fall)
        if rng.random() < 0.6:  # in bursts
            share = _sine(rng, rng.uniform(0.5, 6), length, sample_rate) - np.float32(rng.uniform(-0.9, 0.8))
            voice *= np.clip(4 * share, 0, 1)
        total += voice * np.float32(10 ** (-rng.uniform(0, 12) / 20))
    return total


def _sine(rng: np.random.Generator, frequency: float, length: int, sample_rate: int) -> np.ndarray:
    """A sine of random phase, (N,) float32."""
    t = np.arange(length, dtype=np.float32) / np.float32(sample_rate)
    return np.sin(np.float32(2 * np.pi) * (np.float32(frequency) * t + np.float32(rng.random())))


def _smooth(x: np.ndarray, wide: int) -> np.ndarray:
    """Means of `wide` samples in a row, so (N - wide,)."""
    total = np.cumsum(x, dtype=np.float64)
    return ((total[wide:] - total[:-wide]) / wide).astype(np.float32)


KINDS = {"gaussian": 0.4, "insects": 0.2, "events": 0.2, "tones": 0.2}
"""The kinds and how often they are drawn."""

_MAKERS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "gaussian": _gaussian,
    "insects": _insects,
    "events": _events,
    "tones": _tones,
}
