"""Every event is in the part that its definition says, and no part knows a later one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import ConfigError, DataError
from statewise.recsys.splits import make_split
from tests.recsys.synthetic import log_of

DAY = 86_400_000_000


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=8))
def test_leave_one_out_cuts_the_last_two_of_everyone_who_has_three(rows: list[list[int]]):
    log = log_of(rows, items=10)
    if max(map(len, rows)) < 3:
        with pytest.raises(DataError, match="at least 3 events"):
            make_split(log)
        return
    split = make_split(log)
    long = [u for u, row in enumerate(rows) if len(row) >= 3]
    assert split.test.user.tolist() == long
    for case, u in enumerate(long):
        assert split.test.histories(log).row(case).tolist() == rows[u][:-1]
        assert split.test.targets(log).row(case).tolist() == rows[u][-1:]
        assert split.valid.histories(log).row(case).tolist() == rows[u][:-2]
        assert split.valid.targets(log).row(case).tolist() == [rows[u][-2]]
    for u, row in enumerate(rows):
        assert split.train.row(u).tolist() == (row[:-2] if len(row) >= 3 else row)


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=8), min_size=2, max_size=8))
def test_temporal_parts_do_not_overlap_in_time(days: list[list[int]]):
    times = [[day * DAY + 10**15 for day in sorted(row)] for row in days]
    log = log_of([[i % 5 for i in range(len(row))] for row in days], times, items=5)
    try:
        split = make_split(log, "temporal", valid_share=0.2, test_share=0.2)
    except DataError:
        return
    assert log.time is not None
    _, train = split.train.flat()
    _, valid = split.valid.targets(log).flat()
    _, test = split.test.targets(log).flat()
    assert log.time[train].max(initial=0) < log.time[valid].min()
    assert log.time[valid].max() < log.time[test].min()
    assert len(train) + len(valid) + len(test) == len(log)
    # the history of a case is everything before its targets
    assert np.array_equal(split.test.stop, split.test.end - (split.test.end - split.test.stop))


def test_next_period_tests_on_the_last_month_that_has_events():
    january, march, april = 0, 60 * DAY, 92 * DAY
    log = log_of([[0, 1, 2, 3]], [[january, march, april, april + DAY]])
    split = make_split(log, "next-period")
    assert split.train.row(0).tolist() == [0]
    assert split.valid.targets(log).row(0).tolist() == [1]
    assert split.test.targets(log).row(0).tolist() == [2, 3]


def test_periods_roll_each_with_the_history_before_it():
    days = [0, 31, 60, 61, 92, 122]  # in January, February, March (twice), April and May of 1970
    log = log_of([[0, 1, 2, 3, 4, 5], [6, 6]], [[d * DAY for d in days], [0, 123 * DAY]])
    split = make_split(log, "next-period", periods=2)
    assert split.periods == ("1970-04-01", "1970-05-01")
    assert split.train.row(0).tolist() == [0, 1]
    assert split.valid.targets(log).row(0).tolist() == [2, 3]
    assert split.test.user.tolist() == [0, 0, 1]
    assert split.test.period is not None
    assert split.test.period.tolist() == [0, 1, 1]
    histories, targets = split.test.histories(log), split.test.targets(log)
    assert [histories.row(n).tolist() for n in range(3)] == [[0, 1, 2, 3], [0, 1, 2, 3, 4], [6]]
    assert [targets.row(n).tolist() for n in range(3)] == [[4], [5], [6]]
    assert "stays as it was" in split.warning
    # more than there are: the first period with events trains, the second validates
    assert make_split(log, "next-period", periods=9).periods[0] == "1970-03-01"
    assert make_split(log, "next-period", periods=1).periods == ("1970-05-01",)


def test_too_few_periods_are_named():
    log = log_of([[0, 1, 2]], [[0, DAY, 40 * DAY]])
    with pytest.raises(DataError, match="too few periods"):
        make_split(log, "next-period")
    assert len(make_split(log, "next-period", period="day").test) == 1


def test_a_split_by_time_needs_times():
    log = log_of([[0, 1, 2]])
    with pytest.raises(ConfigError, match="needs times"):
        make_split(log, "temporal")
    with pytest.raises(ConfigError, match="no such split"):
        make_split(log, "random")


def test_every_split_says_what_it_leaks():
    log = log_of([[0, 1, 2, 1]], [[0, 40 * DAY, 80 * DAY, 81 * DAY]])
    assert "later than other users' targets" in make_split(log).warning
    assert "no history" in make_split(log, "next-period").warning
