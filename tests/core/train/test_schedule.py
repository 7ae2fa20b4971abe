from __future__ import annotations

import math

import pytest

from statewise.core.train import FitConfig
from statewise.core.train.schedule import Schedule


def factors(at, *, steps_per_epoch=5, seconds=lambda step: 0.0, **settings):
    schedule = Schedule(config=FitConfig(**settings), steps_per_epoch=steps_per_epoch)
    return [schedule.factor(step, seconds(step)) for step in at]


def test_constant():
    assert factors(range(3), schedule="constant") == [1.0, 1.0, 1.0]


def test_warm_up_rises_in_equal_steps_to_the_peak():
    assert factors(range(6), schedule="constant", warmup_steps=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_exponential_falls_after_each_epoch():
    assert factors([0, 4, 5, 9, 10], schedule="exponential", decay=0.5) == [1, 1, 0.5, 0.5, 0.25]


def test_exponential_is_held_at_the_peak():
    seen = factors([0, 5, 9, 10, 15], schedule="exponential", decay=0.5, hold_epochs=2)
    assert seen == [1, 1, 1, 0.5, 0.25]


def test_exponential_can_hold_the_peak_longer():
    seen = factors([0, 5, 9, 10, 15], schedule="exponential", decay=0.5, hold_epochs=2)
    assert seen == [1, 1, 1, 0.5, 0.25]


def test_cosine_goes_from_the_peak_to_the_floor_over_the_steps_after_the_warm_up():
    seen = factors([2, 4, 6, 10], schedule="cosine", epochs=2, warmup_steps=2, floor=0.1)
    assert seen == pytest.approx([1.0, 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2, 0.55, 0.1])


def test_cosine_ends_at_the_bound_that_comes_first():
    assert factors([4], schedule="cosine", epochs=2, steps=4) == pytest.approx([0.0])
    assert factors([10], schedule="cosine", epochs=2, steps=40) == pytest.approx([0.0])


def test_cosine_follows_the_time_when_only_the_budget_bounds_the_run():
    seen = factors([0, 7, 9], schedule="cosine", epochs=None, budget=10.0, seconds=lambda step: step)
    assert seen == pytest.approx([1.0, (1 + math.cos(0.7 * math.pi)) / 2, (1 + math.cos(0.9 * math.pi)) / 2])


def test_a_budget_beside_epochs_does_not_touch_the_learning_rate():
    slow = factors(range(10), schedule="cosine", epochs=2, budget=10.0, seconds=lambda step: step)
    assert slow == factors(range(10), schedule="cosine", epochs=2)
