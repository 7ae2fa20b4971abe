"""Is the difference more than chance? Bootstrap intervals and a paired test over the same users.

interval   percentiles 2.5 and 97.5 of the mean over 2,000 resamples of the users (Efron, 1979)
p          share of 10,000 random exchanges of the two methods' figures, user by user, whose mean difference
           is at least as large as the one seen (Fisher's paired randomisation test), counting the one seen
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from statewise.core.errors import CheckpointError, UserError

__all__ = ["Compared", "compare_runs", "paired_test", "resampled"]

CASES = "cases.safetensors"
_RESAMPLES, _EXCHANGES, _TILE = 2_000, 10_000, 250


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A method against the first one."""

    method: str
    mean: float
    low: float
    high: float
    difference: float
    """Mean minus that of the first method."""
    difference_low: float
    difference_high: float
    p: float


def compare_runs(
    paths: Sequence[str | Path], *, metric: str = "ndcg", seed: int = 0
) -> tuple[list[Compared], int]:
    """Compare the models of runs, and the baselines of the first one.

    Args:
        paths: run directories; one alone is compared with its baselines.
        metric: `ndcg` or `hr`, at 10.
        seed: of resamples and exchanges.

    Returns:
        A row for each method, and the number of test users.

    Raises:
        CheckpointError: a run has no figures by user.
        UserError: the runs were judged on other users.
    """
    first, columns = _columns(Path(paths[0]), metric)
    figures = dict(columns.items())
    for path in paths[1:]:
        users, others = _columns(Path(path), metric)
        if not np.array_equal(users, first):
            raise UserError(
                "was judged on other users",
                where=str(path),
                seen=f"{len(users):,} test users",
                expected=f"the {len(first):,} of {paths[0]}",
                fix="fit both on the same file with the same --split",
            )
        name, column = next(iter(others.items()))
        figures[f"{name} ({Path(path).name})" if name in figures else name] = column
    base = next(iter(figures.values()))
    return [_compared(name, column, base, seed) for name, column in figures.items()], len(first)


def _columns(path: Path, metric: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Test users, and the figures of each method, the run's own first."""
    import json

    try:
        arrays = load_file(path / CASES)
        order = [row["method"] for row in json.loads((path / "scores.json").read_text(encoding="utf-8"))]
    except OSError:
        raise CheckpointError(
            "holds no figures by user", where=str(path), expected=f"{CASES}, which `recsys fit` writes",
            fix="name a run directory",
        ) from None  # fmt: skip
    names = [name for name in order if f"{name}/{metric}" in arrays]
    return arrays["user"], {name: arrays[f"{name}/{metric}"] for name in names}


def _compared(name: str, column: np.ndarray, base: np.ndarray, seed: int) -> Compared:
    low, high = resampled(column, seed)
    difference = column - base
    d_low, d_high = resampled(difference, seed)
    return Compared(
        method=name,
        mean=float(column.mean()),
        low=low,
        high=high,
        difference=float(difference.mean()),
        difference_low=d_low,
        difference_high=d_high,
        p=paired_test(difference, seed),
    )


def resampled(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean, by resampling users."""
    rng = np.random.default_rng(seed)
    n = len(values)
    parts = [values[rng.integers(0, n, (_TILE, n))].mean(axis=1) for _ in range(0, _RESAMPLES, _TILE)]
    low, high = np.quantile(np.concatenate(parts), [0.025, 0.975])
    return float(low), float(high)


def paired_test(difference: np.ndarray, seed: int = 0) -> float:
    """Two-sided p of a mean difference of zero, by exchanging the pairs at random."""
    moved = difference[difference != 0]
    if not len(moved):
        return 1.0
    rng = np.random.default_rng(seed)
    seen, beyond = abs(moved.sum()), 0
    for _ in range(0, _EXCHANGES, _TILE):
        signs = rng.integers(0, 2, (_TILE, len(moved)), dtype=np.int8) * 2 - 1
        beyond += int((np.abs(signs @ moved) >= seen - 1e-12).sum())
    return (beyond + 1) / (_EXCHANGES + 1)
