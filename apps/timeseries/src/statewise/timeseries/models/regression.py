"""Effects of covariates: a regression whose errors are correlated in time.

With y_t = u_t B + e_t and e_t ≈ a linear function of its own past, both sides are first passed through the
filter that leaves of a series what its past does not tell, and B comes from least squares on what is left
(Cochrane & Orcutt, "Application of least squares regression to relationships containing auto-correlated
error terms", 1949).

Letters: L series length, F known-future steps, C covariates, K filter length.
"""

from __future__ import annotations

import numpy as np

from statewise.timeseries.history import fill_missing
from statewise.timeseries.panel import Series

__all__ = ["effects", "regressors"]

_SHRINKAGE = 3.0  # steps' worth of evidence that a covariate has no effect


def regressors(series: Series, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The covariates of a series without gaps and in common units, (L+F, C).

    A missing value repeats the last known one.

    Args:
        series: has covariates.
        centre: subtracted from each covariate, (C,).
        scale: then divides it, (C,).
    """
    assert series.covariates is not None
    filled = [fill_missing(column) for column in series.covariates.T]
    return (np.stack(filled, axis=1) - centre) / scale


def effects(
    values: np.ndarray, covariates: np.ndarray, observed: np.ndarray, filter: np.ndarray
) -> np.ndarray:
    """B (C,): what one unit of each covariate adds to the series.

    Args:
        values: the series without gaps, (L,).
        covariates: (L, C).
        observed: (L,) bool; filled steps tell nothing.
        filter: weights of the K steps before a step, oldest first, in its forecast, (K,).
    """
    use = observed[len(filter) :]
    if not use.any():
        return np.zeros(covariates.shape[1])
    left = np.stack([_unexplained(column, filter)[use] for column in covariates.T], axis=1)
    left = left - left.mean(axis=0)
    target = _unexplained(values, filter)[use]
    gram = left.T @ left
    penalty = _SHRINKAGE * np.maximum(np.diag(gram), 1e-12) / len(left)
    return np.linalg.solve(gram + np.diag(penalty), left.T @ (target - target.mean()))


def _unexplained(values: np.ndarray, filter: np.ndarray) -> np.ndarray:
    """x_t less its forecast from the K steps before, for t >= K."""
    return values[len(filter) :] - np.correlate(values[:-1], filter, "valid")
