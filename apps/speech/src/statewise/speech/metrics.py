"""Measures of enhanced speech against the clean one: SI-SDR, STOI and PESQ, after the two are aligned.

Many enhancers give their output a few milliseconds late. That is not heard, but it ruins every measure that
compares samples, so the estimate is first shifted by the lag, up to 50 ms, at which it correlates best.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import soxr
from scipy.signal import correlate

from statewise.core.errors import DataError, MissingExtraError, UnknownNameError

__all__ = ["METRICS", "align", "evaluate", "pesq_wb", "si_sdr", "stoi"]

METRICS = ("pesq", "stoi", "si_sdr")
"""PESQ: wide band, P.862.2, about 1 to 4.6. STOI: 0 to 1. SI-SDR: dB. More is better."""
LAG = 0.05
RATE = 16_000
"""Hz at which PESQ is defined."""
SHORTEST = 0.25
"""Seconds that PESQ needs."""


def align(estimate: np.ndarray, reference: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Both signals (N,) cut to where they overlap at the best lag, and by how many samples one is late."""
    size = min(len(estimate), len(reference))
    estimate, reference = estimate[:size], reference[:size]
    most = min(round(LAG * rate), max(0, size - 1))
    if size < 2 or not estimate.any() or not reference.any():
        return estimate, reference, 0
    correlation = correlate(
        estimate.astype(np.float64), reference.astype(np.float64), mode="full", method="fft"
    )
    centre = size - 1
    lag = int(np.argmax(correlation[centre - most : centre + most + 1])) - most
    if lag >= 0:
        return estimate[lag:], reference[: size - lag], lag
    return estimate[:lag], reference[-lag:], lag


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019), means taken off.

    Infinite for a perfect estimate, minus infinite for one that holds nothing of the reference.
    """
    estimate, reference = (
        one.astype(np.float64) - one.mean(dtype=np.float64) for one in (estimate, reference)
    )
    energy = float(reference @ reference)
    if energy == 0:
        return float("nan")
    part = float(estimate @ reference) / energy * reference
    noise = estimate - part
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.float64(part @ part) / np.float64(noise @ noise)))


def stoi(estimate: np.ndarray, reference: np.ndarray, rate: int) -> float | None:
    """Short-time objective intelligibility; None for less than about 0.4 s of active speech."""
    from pystoi import stoi as measure

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(measure(reference, estimate, rate, extended=False))
        except (RuntimeWarning, ValueError):  # too few frames are left without the silent ones
            return None


def pesq_wb(estimate: np.ndarray, reference: np.ndarray, rate: int) -> float | None:
    """Wide-band PESQ (ITU-T P.862.2); None where it finds no speech or less than 0.25 s.

    Raises:
        MissingExtraError: the package `pesq` is not installed.
    """
    try:
        import pesq  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise MissingExtraError("pesq", "statewise-speech[pesq]", "PESQ") from None
    if rate != RATE:
        estimate, reference = (soxr.resample(one, rate, RATE) for one in (estimate, reference))
    if len(reference) < SHORTEST * RATE or not reference.any() or not estimate.any():
        return None
    try:
        return float(pesq.pesq(RATE, reference, estimate, "wb"))
    except pesq.NoUtterancesError:
        return None


def evaluate(
    estimate: np.ndarray, reference: np.ndarray, rate: int, metrics: Sequence[str] = ("stoi", "si_sdr")
) -> dict[str, float | None]:
    """The measures of one file, after alignment.

    Args:
        estimate: (N,).
        reference: (N,), the clean signal.
        rate: in Hz.
        metrics: names out of `METRICS`.

    Raises:
        DataError: the lengths differ by more than the alignment can explain.
        UnknownNameError: there is no such measure.
    """
    if abs(len(estimate) - len(reference)) > 2 * LAG * rate:
        raise DataError(
            "differ in length",
            seen=f"{len(estimate)} and {len(reference)} samples",
            expected=f"lengths within {2 * LAG} s of each other",
            fix="compare files of the same recording",
        )
    aligned, target, _ = align(estimate, reference, rate)
    values: dict[str, float | None] = {}
    for name in metrics:
        if name == "si_sdr":
            value = si_sdr(aligned, target)
            values[name] = value if np.isfinite(value) else None
        elif name == "stoi":
            values[name] = stoi(aligned, target, rate)
        elif name == "pesq":
            values[name] = pesq_wb(aligned, target, rate)
        else:
            raise UnknownNameError("measure", name, METRICS)
    return values
