"""First and second moments of all windows of a series, without ever forming the windows.

Neighbouring windows share all but one value. With w_t = (x_t .. x_{t+M-1}) and windows t = a .. b-1,

    G_ij = sum_t x_{t+i} x_{t+j},     G_{i+1,j+1} = G_ij + x_{b+i} x_{b+j} - x_{a+i} x_{a+j},

so the first row costs n M products and the rest is a cumulative sum along the diagonals: n M + M²
operations instead of n M². Least squares over windows needs nothing else of the data.

Letters: M window length, n windows, a..b-1 their starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["WindowMoments", "window_moments"]

_SMALL = 2e7  # multiplications up to which the windows themselves are quicker than the recurrence


@dataclass(frozen=True)
class WindowMoments:
    """Sums over windows; those of several stretches or series add up."""

    count: int
    """Windows, n."""
    total: np.ndarray
    """Sum of the windows, (M,) float64."""
    gram: np.ndarray
    """Sum of their outer products, (M, M) float64."""

    @classmethod
    def none(cls, length: int) -> WindowMoments:
        """The moments of no window."""
        return cls(0, np.zeros(length), np.zeros((length, length)))

    def __add__(self, other: WindowMoments) -> WindowMoments:
        return WindowMoments(self.count + other.count, self.total + other.total, self.gram + other.gram)


def window_moments(values: np.ndarray, use: np.ndarray, length: int) -> WindowMoments:
    """Moments of the windows of `values` whose starts are marked.

    Args:
        values: (L,) without gaps; best of mean 0 and deviation 1, since the diagonals are running sums.
        use: (L-M+1,) bool, which starts count.
        length: M.
    """
    moments = WindowMoments.none(length)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], use, [False]))))
    for start, stop in edges.reshape(-1, 2):
        moments += _run(values[start : stop + length - 1], length)
    return moments


def _run(values: np.ndarray, length: int) -> WindowMoments:
    """Moments of every window of a stretch."""
    n = len(values) - length + 1
    if n <= 2 * length or n * length**2 <= _SMALL:
        rows = np.lib.stride_tricks.sliding_window_view(values, length)
        return WindowMoments(n, rows.sum(axis=0), rows.T @ rows)
    sums = np.concatenate(([0.0], np.cumsum(values)))
    total = sums[n:] - sums[:-n]
    first = np.correlate(values, values[:n], "valid")
    return WindowMoments(n, total, _from_first_row(first, values[n:], values[:length]))


def _from_first_row(first: np.ndarray, entering: np.ndarray, leaving: np.ndarray) -> np.ndarray:
    """The Gram matrix (M, M) from its first row (M,) and the values entering, x_b .., and leaving, x_a .."""
    size = len(first)
    # change[i, d] is what G_{i,i+d} gains on the way to G_{i+1,i+1+d}
    change = _lagged_products(entering, size) - _lagged_products(leaving[: size - 1], size)
    diagonals = first + np.concatenate((np.zeros((1, size)), np.cumsum(change, axis=0)))
    gram = np.zeros((size, size))
    for i in range(size):
        gram[i, i:] = diagonals[i, : size - i]
    return gram + np.triu(gram, 1).T


def _lagged_products(values: np.ndarray, lags: int) -> np.ndarray:
    """x_i x_{i+d} for every i and d < `lags`, zero beyond the end."""
    padded = np.concatenate((values, np.zeros(lags)))
    return values[:, None] * np.lib.stride_tricks.sliding_window_view(padded, lags)[: len(values)]
