"""How well anomalies agree with labels: by point, by event, and the best that any threshold would reach.

Point scores count steps. Event scores count stretches: a labelled stretch is found when one step inside it is
flagged, a flagged stretch is right when it touches a labelled one. The points of a stretch that is found are
not counted as found altogether ("point adjustment"), which would let a random detector score high (Kim et
al., "Towards a Rigorous Evaluation of Time-series Anomaly Detection", AAAI 2022).

Letters: n steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["DetectionScore", "stretches", "with_labels"]


@dataclass(frozen=True, kw_only=True)
class DetectionScore:
    """Agreement over the steps that were judged."""

    precision: float
    """Share of flagged steps that are labelled."""
    recall: float
    """Share of labelled steps that are flagged."""
    f1: float
    """Harmonic mean of the two."""
    events: int
    """Labelled stretches."""
    found: int
    """Of them, those with a flagged step inside."""
    event_precision: float
    """Share of flagged stretches that touch a labelled one."""
    false_alarms: float
    """Flagged steps outside labelled stretches, per 1,000 steps outside them."""
    best_f1: float
    """The F1 of the threshold that suits the labels best: what nobody could have set beforehand."""


def with_labels(score: np.ndarray, labels: np.ndarray, first: int, threshold: float = 1.0) -> DetectionScore:
    """Compare scores with labels.

    Args:
        score: (n,), an anomaly above the threshold.
        labels: (n,) bool.
        first: the first step that was judged.
        threshold: of the score.
    """
    flagged, truth = score[first:] > threshold, labels[first:]
    hits = int((flagged & truth).sum())
    labelled, raised = stretches(truth), stretches(flagged)
    right = sum(bool(truth[a : b + 1].any()) for a, b in raised)
    outside = int((~truth).sum())
    return DetectionScore(
        precision=_share(hits, int(flagged.sum())),
        recall=_share(hits, int(truth.sum())),
        f1=_f1(hits, int(flagged.sum()), int(truth.sum())),
        events=len(labelled),
        found=sum(bool(flagged[a : b + 1].any()) for a, b in labelled),
        event_precision=_share(right, len(raised)),
        false_alarms=1000 * _share(int((flagged & ~truth).sum()), outside),
        best_f1=_best_f1(score[first:], truth),
    )


def stretches(flags: np.ndarray) -> list[tuple[int, int]]:
    """Steps that follow each other and are True, as first and last one."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False]))))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]


def _best_f1(score: np.ndarray, truth: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(truth[order])
    counts = np.arange(1, len(order) + 1)
    # only where the score falls can a threshold stand
    ends = np.append(np.diff(score[order]) < 0, True)
    f1 = 2 * hits / (counts + max(int(truth.sum()), 1))
    return float(f1[ends].max(initial=0.0)) if truth.any() else float("nan")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _f1(hits: int, flagged: int, labelled: int) -> float:
    return 2 * hits / (flagged + labelled) if flagged + labelled else float("nan")
