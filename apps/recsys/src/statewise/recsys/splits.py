"""Which events train, which choose and which only report.

    leave-one-out   the last event of each user is the test target, the one before it the validation target
    temporal        two points in time: before the first trains, between them validates, after them tests
    next-period     the last periods (months, weeks, ...) with events test one after the other, the one before
                    them validates; every event of a period is a target, all that is before it the history
                    (Next-Period Recommendation, arXiv 2110.05589)

A case is a user with a history (a prefix of the user's events) and targets (the events behind it). The test
history of leave-one-out holds the validation target: it has happened by then.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from statewise.core.errors import ConfigError, DataError
from statewise.recsys.events import EventLog, Histories

__all__ = ["SPLITS", "Cases", "Split", "make_split"]

SPLITS = ("leave-one-out", "temporal", "next-period")
_DAY = 86_400_000_000
PERIODS = {"day": _DAY, "week": 7 * _DAY}


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Questions to a model: n users with what they had taken and what they took next."""

    user: np.ndarray
    """Code of the user, (n,)."""
    stop: np.ndarray
    """The history of case i is `item[starts[user]:stop]`, (n,)."""
    end: np.ndarray
    """Its targets are `item[stop:end]`, (n,)."""
    period: np.ndarray | None = None
    """Which of the periods that test it belongs to, (n,); None where there are no periods."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray | slice) -> Cases:
        """Some of the cases."""
        period = None if self.period is None else self.period[rows]
        return Cases(user=self.user[rows], stop=self.stop[rows], end=self.end[rows], period=period)

    def histories(self, log: EventLog) -> Histories:
        """What each user had taken."""
        return log.histories(self.user, self.stop)

    def targets(self, log: EventLog) -> Histories:
        """What each user took next."""
        return Histories(starts=self.stop, stops=self.end, items=log.item, times=log.time)


@dataclass(frozen=True, kw_only=True)
class Split:
    """A log cut into parts by events."""

    kind: str
    log: EventLog
    train_stop: np.ndarray
    """Training events of user u are `item[starts[u]:train_stop[u]]`, (U,)."""
    valid: Cases
    test: Cases
    warning: str
    """What this split lets a model know that it could not have known, in one sentence."""
    periods: tuple[str, ...] = ()
    """First day of each period that tests."""

    @property
    def train(self) -> Histories:
        """The training events."""
        return self.log.histories(stops=self.train_stop)

    @property
    def facts(self) -> str:
        """The split in one line."""
        n = int((self.train_stop - self.log.starts[:-1]).sum())
        cases = f"{len(self.valid):,} validation and {len(self.test):,} test users"
        days = f" in the periods from {', '.join(self.periods)}" if self.periods else ""
        return f"{self.kind}: {n:,} training events, {cases}{days}"


def make_split(
    log: EventLog,
    kind: str = "leave-one-out",
    *,
    valid_share: float = 0.1,
    test_share: float = 0.1,
    period: str = "month",
    periods: int = 3,
) -> Split:
    """Cut a log.

    Args:
        log: the events.
        kind: one of `SPLITS`.
        valid_share: share of the events between the two points of `temporal`.
        test_share: share of the events after the second.
        period: `day`, `week` or `month` of `next-period`.
        periods: how many of them test, at most: the first two with events train and validate.

    Raises:
        ConfigError: there is no such split, or it needs times that the log lacks.
        DataError: the log is too small for it.
    """
    if kind not in SPLITS:
        raise ConfigError(
            "there is no such split", where="--split", seen=kind, expected=f"one of {', '.join(SPLITS)}",
            fix="choose one of them",
        )  # fmt: skip
    if kind == "leave-one-out":
        split = _leave_one_out(log)
    else:
        if log.time is None or log.clock != "epoch":
            raise ConfigError(
                f"the split '{kind}' needs times",
                where="--split",
                seen="only the order of each user's events is known",
                expected="a column of dates or of numbers since 1970",
                fix="name it with --time, or use --split leave-one-out",
            )
        if kind == "temporal":
            split = _by_time(log, kind, _shares(log.time, valid_share, test_share))
        else:
            split = _by_time(log, kind, _last_periods(log.time, period, periods))
    if not len(split.test) or not len(split.valid):
        raise DataError(
            "is too small for this split",
            where=kind,
            seen=f"{len(split.valid)} validation and {len(split.test)} test users; "
            f"the longest history has {int(log.lengths.max())} events",
            expected="users with at least 3 events",
            fix="give more events, or another --split",
        )
    return split


def _leave_one_out(log: EventLog) -> Split:
    begins, ends = log.starts[:-1], log.starts[1:]
    user = np.flatnonzero(log.lengths >= 3)
    stop = ends.copy()
    stop[user] -= 2
    last = ends[user]
    warning = (
        "leave-one-out trains on events that are later than other users' targets: figures are comparable "
        "with papers, and higher than in use; --split temporal is the honest one where times are known"
    )
    return Split(
        kind="leave-one-out",
        log=log,
        train_stop=np.maximum(stop, begins),
        valid=Cases(user=user, stop=last - 2, end=last - 1),
        test=Cases(user=user, stop=last - 1, end=last),
        warning=warning,
    )


def _by_time(log: EventLog, kind: str, points: list[int]) -> Split:
    """Events before the first point train, those before the second validate, those behind each other test."""
    begins = log.starts[:-1]
    times = np.zeros(0) if log.time is None else log.time  # the caller has made sure that there are times

    def before(point: int) -> np.ndarray:
        early = np.concatenate([[0], np.cumsum(times < point)])
        return begins + early[log.starts[1:]] - early[begins]

    edges = [*(before(point) for point in points), log.starts[1:]]
    valid = np.flatnonzero(edges[1] > edges[0])
    tested = [np.flatnonzero(after > stop) for stop, after in itertools.pairwise(edges[1:])]
    test = Cases(
        user=np.concatenate(tested),
        stop=np.concatenate([stop[who] for stop, who in zip(edges[1:], tested, strict=False)]),
        end=np.concatenate([end[who] for end, who in zip(edges[2:], tested, strict=True)]),
        period=np.repeat(np.arange(len(tested)), [len(who) for who in tested]),
    )
    new = int((test.stop == begins[test.user]).sum())
    warning = f"{new:,} of {len(test):,} test users have no history before the cut: scored as new users"
    if len(tested) > 1:
        warning += "; histories move on from period to period, what was learnt stays as it was before them"
    return Split(
        kind=kind,
        log=log,
        train_stop=edges[0],
        valid=Cases(user=valid, stop=edges[0][valid], end=edges[1][valid]),
        test=test,
        warning=warning,
        periods=_days(points[1:]) if kind == "next-period" else (),
    )


def _days(points: list[int]) -> tuple[str, ...]:
    return tuple(str(np.datetime64(point, "us").astype("datetime64[D]")) for point in points)


def _shares(time: np.ndarray, valid: float, test: float) -> list[int]:
    return np.quantile(time, [1 - valid - test, 1 - test], method="higher").astype(np.int64).tolist()


def _last_periods(time: np.ndarray, period: str, periods: int) -> list[int]:
    """Beginnings of the period that validates and of those that test; the first with events trains."""
    if period == "month":
        months = time.astype("datetime64[us]").astype("datetime64[M]")
        found = np.unique(months).astype("datetime64[us]").astype(np.int64)
    elif period in PERIODS:
        found = np.unique(time // PERIODS[period]) * PERIODS[period]
    else:
        raise ConfigError(
            "there is no such period", where="--period", seen=period, expected="day, week or month",
            fix="choose one of them",
        )  # fmt: skip
    if len(found) < 3:
        raise DataError(
            "the data span too few periods",
            where=f"--period {period}",
            seen=f"{len(found)} with events",
            expected="3: one that trains, one that validates, one that tests",
            fix="choose a shorter --period, or another --split",
        )
    return found[-1 - min(periods, len(found) - 2) :].tolist()
