"""Ranks and figures against their definitions, and against scorers whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.recsys.events import Histories
from statewise.recsys.metrics import summarise
from statewise.recsys.models.counts import Popularity
from statewise.recsys.ranking import first_places, rank_cases
from statewise.recsys.sampled import rank_sampled
from statewise.recsys.splits import make_split
from tests.recsys.synthetic import log_of, noise


class Fixed(Popularity):
    """Scores that are given, row by row of a table that the last item of the history chooses."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__(np.ones(table.shape[1]))
        self.table = table

    def scores(self, histories: Histories) -> np.ndarray:
        return self.table[[histories.row(i)[-1] for i in range(len(histories))]]


def test_a_constant_scorer_gets_the_mean_rank():
    log = noise(users=40, items=50, length=12)
    split = make_split(log)
    ranked = rank_cases(Popularity(np.ones(50)), log, split.test)
    # 11 items of the history are left out: 39 candidates, the mean place from 0 is 19
    assert np.array_equal(ranked.rank, np.full(40, 19.0))


@pytest.mark.parametrize("popular", [True, False])
def test_a_constant_scorer_gets_the_mean_rank_among_sampled_items(popular: bool):
    log = noise(users=20, items=300, length=10)
    ranked = rank_sampled(Popularity(np.ones(300)), log, make_split(log).test, popular=popular)
    assert np.array_equal(ranked.rank, np.full(20, 50.0))


@given(
    scores=st.lists(st.integers(0, 4), min_size=6, max_size=6),
    history=st.lists(st.integers(0, 5), min_size=3, max_size=5),
    repeat=st.sampled_from(["exclude", "allow", "only"]),
)
def test_a_rank_is_what_the_definition_says(scores: list[int], history: list[int], repeat: str):
    log = log_of([history], items=6)
    split = make_split(log)
    ranked = rank_cases(Fixed(np.tile(np.array(scores, float), (6, 1))), log, split.test, repeat=repeat)
    before, target = set(history[:-1]), history[-1]
    allowed = {"exclude": set(range(6)) - before, "only": before, "allow": set(range(6))}[repeat]
    if target not in allowed:
        assert ranked.rank[0] == np.inf
        return
    rivals = [scores[v] for v in allowed - {target}]
    expected = sum(s > scores[target] for s in rivals) + sum(s == scores[target] for s in rivals) / 2
    assert ranked.rank[0] == expected
    assert set(ranked.top[0][ranked.top[0] >= 0]) <= allowed


def test_figures_of_ranks_that_are_known():
    log = log_of([[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 5]], items=6)
    table = np.tile(np.array([0, 0, 0, 9.0, 8.0, 7.0]), (6, 1))
    figures = summarise(rank_cases(Fixed(table), log, make_split(log).test), np.arange(6), cuts=(1, 2, 10))
    assert figures.hr == {"1": pytest.approx(1 / 3), "2": pytest.approx(2 / 3), "10": 1.0}
    assert figures.ndcg["10"] == pytest.approx((1 + 1 / np.log2(3) + 1 / 2) / 3)
    assert figures.mrr == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    weights = np.array([1 / 3, 1 / 4, 1 / 5])
    assert figures.debiased == pytest.approx((weights * [1, 1 / np.log2(3), 1 / 2]).sum() / weights.sum())
    assert figures.coverage == pytest.approx(3 / 6)


def test_several_targets_fill_the_first_places_for_a_perfect_scorer():
    month = 31 * 86_400_000_000
    times = [[0, 1, month, month + 1, 3 * month, 3 * month + 1]]
    log = log_of([[0, 1, 2, 0, 3, 4]], times, items=6)
    split = make_split(log, "next-period")
    table = np.tile(np.array([0, 0, 0, 5.0, 4.0, 1.0]), (6, 1))
    figures = summarise(
        rank_cases(Fixed(table), log, split.test, repeat="allow"), np.ones(6), cuts=(1, 2, 10)
    )
    assert figures.ndcg == {"1": 1.0, "2": 1.0, "10": 1.0}
    assert figures.recall == {"1": 0.5, "2": 1.0, "10": 1.0}


def test_equal_scores_go_by_first_appearance_and_barred_items_are_no_items():
    scores = np.array([[1.0, 3.0, 3.0, -np.inf], [-np.inf, -np.inf, -np.inf, 0.0]])
    items, values = first_places(scores, 3)
    assert items.tolist() == [[1, 2, 0], [3, -1, -1]]
    assert values[0].tolist() == [3.0, 3.0, 1.0]
