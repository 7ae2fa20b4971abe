"""What earlier origins tell about two methods: their losses side by side, and whether a difference is chance.

Forecasts from neighbouring origins overlap and miss together. The differences of the losses are therefore
averaged over blocks of one horizon each, over all origins and series in them, and the blocks are what
counts:

    d_b = mean of loss(reference) - loss(method) in block b,   b = 1..B
    t = mean(d) / (s / sqrt(B)),   s^2 = (v0 s0^2 + sum (d_b - mean(d))^2) / (v0 + B - 1)

Diebold and Mariano, "Comparing Predictive Accuracy", 1995, is this comparison. With two or three blocks
their own spread says little: s0 stands for what is known before, that the gain of a block differs from the
mean gain by a quarter of the reference's loss, less where many series are averaged, and counts as v0 = 2
blocks. t is held against Student's distribution with v0 + B - 1 degrees of freedom.

Letters: O origins, S series, B blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

__all__ = ["Comparison", "Losses", "compare"]

_BLOCK_SPREAD = 0.25  # of the reference's loss, by which gains differ from block to block
_PRIOR_BLOCKS = 2.0  # that this is worth, v0
_SHARED = 0.25  # of the variance of a gain, that all series have in common


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What each method missed by at each origin, in units of the series' scale."""

    values: dict[str, dict[str, np.ndarray]]
    """By method and series, (O,); NaN where it did not forecast or nothing was observed."""
    blocks: dict[str, np.ndarray]
    """By series, which block an origin belongs to, counted back from the last one, (O,) int."""

    def methods(self, series: str) -> tuple[str, ...]:
        """Those that can forecast a series, in their order."""
        return tuple(name for name, own in self.values.items() if series in own)

    def extended(self, method: str, own: dict[str, np.ndarray]) -> Losses:
        """With one more method at the end."""
        return Losses(values=self.values | {method: own}, blocks=self.blocks)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A method against a reference, on the origins that both forecast from."""

    loss: float
    """Mean of the method; NaN where there is no such origin."""
    reference: float
    """Mean of the reference."""
    blocks: int
    """B"""
    p: float
    """Chance of a gain this large if there is none, one-sided."""

    @property
    def gain(self) -> float:
        """By how much the method errs less, as a share of the reference's loss."""
        return 1 - self.loss / self.reference if self.reference > 0 else 0.0


def compare(losses: Losses, method: str, reference: str, series: Sequence[str]) -> Comparison:
    """Compare two methods over some series, each of which counts the same."""
    differences: dict[int, list[float]] = {}
    levels: list[tuple[float, float]] = []
    for name in series:
        a, b = losses.values[method][name], losses.values[reference][name]
        both = np.isfinite(a) & np.isfinite(b)
        if both.any():
            levels.append((float(a[both].mean()), float(b[both].mean())))
            for block, gain in _by_block(b[both] - a[both], losses.blocks[name][both]).items():
                differences.setdefault(block, []).append(gain)
    if not levels:
        return Comparison(loss=float("nan"), reference=float("nan"), blocks=0, p=1.0)
    loss, other = np.mean(levels, axis=0)
    gains = np.array([np.mean(block) for block in differences.values()])
    p = _chance(gains, spread=_BLOCK_SPREAD * other, series=len(levels))
    return Comparison(loss=float(loss), reference=float(other), blocks=len(gains), p=p)


def _by_block(gains: np.ndarray, blocks: np.ndarray) -> Mapping[int, float]:
    return {int(block): float(gains[blocks == block].mean()) for block in np.unique(blocks)}


def _chance(gains: np.ndarray, spread: float, series: int) -> float:
    """One-sided p of the mean gain of the blocks, (B,)."""
    n, mean = len(gains), float(gains.mean())
    prior = spread**2 * (_SHARED + (1 - _SHARED) / series)
    freedom = _PRIOR_BLOCKS + n - 1
    variance = (_PRIOR_BLOCKS * prior + float(np.sum((gains - mean) ** 2))) / freedom
    if variance == 0:
        return 0.0 if mean > 0 else 1.0
    return float(stdtr(freedom, -mean / np.sqrt(variance / n)))
