from __future__ import annotations

import numpy as np
import pytest
import torch

from statewise.rl.environments.make import EnvironmentSpec, make_vector
from statewise.rl.environments.stream import Stream
from statewise.rl.returns import advantages, lambda_returns, returns_to_go


@pytest.mark.parametrize(("cut", "expected"), [(True, 10.0), (False, 6.5132156)])
@pytest.mark.parametrize("trace", [0.0, 0.95, 1.0])
def test_the_value_of_a_constant_reward_with_truncation_and_with_termination(cut, expected, trace):
    """Reward 1, ten steps, discount 0.9: 10 if the end is a cut, 1 + 0.9 + ... + 0.9^9 if it is one."""
    stream = Stream(make_vector(EnvironmentSpec(id="odd_environments:Plain-v0", options={"cut": cut}), 1))
    stream.reset(0)
    steps = [stream.step(np.array([0])) for _ in range(20)]
    reward, terminated, done = (
        np.array([getattr(step, name)[0] for step in steps]) for name in ("reward", "terminated", "done")
    )
    here = np.array([round(float(step.observation[0, 0]) * 10) for step in steps])
    there = np.array([round(float(step.successor[0, 0]) * 10) for step in steps])
    value = np.zeros(11)  # by the number of steps taken; an agent that does not know the time has one value
    for _ in range(400):
        known = np.full(11, value[:10].mean()) if cut else value.copy()
        gain = advantages(reward, known[here], known[there], terminated, done, discount=0.9, trace=trace)
        for t, place in enumerate(here):
            value[place] = (known[here] + gain)[t]
    assert value[0] == pytest.approx(expected, abs=1e-4)


def test_the_trace_stops_at_an_end_and_the_bootstrap_only_where_it_is_one():
    zeros = np.zeros(4)
    done = np.array([False, True, False, False])
    successor = np.array([0.0, 5.0, 0.0, 7.0])
    cut = advantages(zeros, zeros, successor, zeros > 0, done, discount=0.5, trace=1.0)
    np.testing.assert_allclose(cut, [0.5 * 2.5, 2.5, 0.5 * 3.5, 3.5])
    over = advantages(zeros, zeros, successor, done, done, discount=0.5, trace=1.0)
    np.testing.assert_allclose(over, [0.0, 0.0, 0.5 * 3.5, 3.5])


def test_lambda_returns_by_hand():
    reward, value = torch.tensor([1.0, 2.0]), torch.tensor([9.0, 3.0, 4.0])
    proceed = torch.tensor([0.5, 0.5])
    last = 2 + 0.5 * 4  # both terms are V_2
    first = 1 + 0.5 * (0.25 * 3 + 0.75 * last)
    found = lambda_returns(reward, value, proceed, trace=0.75)
    torch.testing.assert_close(found, torch.tensor([first, last]))


def test_nothing_is_expected_behind_an_imagined_end():
    found = lambda_returns(torch.ones(3), torch.full((4,), 100.0), torch.tensor([0.9, 0.0, 0.9]), trace=0.95)
    assert found[1] == 1.0
    assert found[0] == pytest.approx(1 + 0.9 * (0.05 * 100 + 0.95 * 1))


def test_returns_to_go():
    np.testing.assert_allclose(returns_to_go(np.array([1.0, 0.0, -2.0])), [-1.0, -2.0, -2.0])
