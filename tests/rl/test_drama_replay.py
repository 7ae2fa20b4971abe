from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.rl.drama.replay import Replay, imagination_scores, training_scores
from statewise.rl.environments.stream import Transition


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=2, max_size=30),
    st.floats(0.01, 1.0),
)
def test_sampling_probabilities(counts, ratio: float):
    v, b = (np.array(part) for part in zip(*counts, strict=True))
    scores = imagination_scores(v, b, ratio)
    np.testing.assert_allclose(scores, np.minimum(0, v - b * ratio) / 10, rtol=1e-9, atol=1e-9)
    assert np.isfinite(scores).all()
    assert np.isfinite(training_scores(v)).all()


def filled(lanes: int = 1, capacity: int = 40, steps: int = 40, **more) -> Replay:
    replay = Replay(lanes, capacity, (1,), np.float32, **more)
    for t in range(steps):
        where = np.full((lanes, 1), float(t), np.float32)
        nothing = np.zeros(lanes, bool)
        replay.add(
            Transition(
                where, np.zeros(lanes, int), np.zeros(lanes), where, nothing, nothing, nothing, ~nothing
            )
        )
    return replay


def test_first_draws_follow_the_softmax_of_the_counts_also_at_a_million():
    replay = filled(capacity=4, steps=4)
    base = 10**6
    replay.trained[0] = base + np.array([0, 5, 10, 20])
    generator = np.random.default_rng(0)
    seen = np.zeros(4)
    for _ in range(4000):
        window = replay.draw_training(1, 1, generator)
        place = int(window.observation[0, 0, 0])
        seen[place] += 1
        replay.trained[0, place] -= 1
    expected = np.exp(-np.array([0, 5, 10, 20]) / 10)
    np.testing.assert_allclose(seen / 4000, expected / expected.sum(), atol=0.025)


def test_draws_are_without_replacement_and_counted():
    replay = filled(lanes=2, capacity=20, steps=20)
    window = replay.draw_training(30, 5, np.random.default_rng(0))
    assert window.observation.shape == (30, 5, 1)
    assert replay.trained.sum() == 30
    assert replay.trained.max() == 1
    replay.draw_imagination(12, 5, 1.0, np.random.default_rng(0))
    assert replay.imagined.sum() == 12


@pytest.mark.parametrize("steps", [7, 20, 23, 41, 200])
def test_a_window_never_crosses_the_write_head(steps: int):
    replay = filled(capacity=20, steps=steps)
    window = replay.draw_training(10**6, 6, np.random.default_rng(0))
    times = window.observation[..., 0]
    assert (np.diff(times, axis=1) == 1).all()
    assert times.min() == max(0, steps - 20)
    assert times.max() == steps - 1
    assert len(np.unique(times[:, 0])) == min(steps, 20) - 5


def test_what_is_overwritten_is_forgotten_with_its_counts():
    replay = filled(capacity=20, steps=20)
    replay.trained[:] = 9
    before = replay.state()
    other = filled(capacity=20, steps=0)
    other.restore(before)
    assert other.added == 20
    one = Transition(*(np.zeros((1, 1), np.float32),), np.zeros(1, int), np.zeros(1), np.zeros((1, 1)),
                     *(np.zeros(1, bool) for _ in range(3)), np.ones(1, bool))  # fmt: skip
    other.add(one)
    assert other.trained[0, 0] == 0
    assert (other.trained[0, 1:] == 9).all()
