from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statewise.core.train.order import Order, micro_batches


@given(size=st.integers(1, 200), batch=st.integers(1, 60), seed=st.integers(0, 2**63))
@settings(deadline=None)
def test_an_epoch_visits_every_example_once(size, batch, seed):
    order = Order(size, batch, seed)
    seen = [order.indices(step) for step in range(order.steps_per_epoch)]
    assert sorted(torch.cat(seen).tolist()) == list(range(size))
    assert all(len(part) == batch for part in seen[:-1])
    assert order.epochs(order.steps_per_epoch) == 1


@given(size=st.integers(1, 200), batch=st.integers(1, 60))
@settings(deadline=None)
def test_drop_last_leaves_out_other_examples_in_each_epoch(size, batch):
    order = Order(size, batch, 0, drop_last=True)
    whole = Order(size, batch, 0)
    assert order.steps_per_epoch == max(1, size // batch)
    for epoch in range(2):
        seen = [order.indices(epoch * order.steps_per_epoch + step) for step in range(order.steps_per_epoch)]
        first = whole.indices(epoch * whole.steps_per_epoch)
        assert {len(part) for part in seen} == {min(size, batch)}
        assert torch.equal(seen[0], first)


def test_what_fills_no_step_can_be_left_out():
    order = Order(10, 4, 0, drop_last=True)
    seen = [
        {*order.indices(2 * epoch).tolist(), *order.indices(2 * epoch + 1).tolist()} for epoch in range(5)
    ]
    assert order.steps_per_epoch == 2
    assert all(len(examples) == 8 for examples in seen)
    assert set.union(*seen) == set(range(10))
    assert len(Order(3, 4, 0, drop_last=True).indices(0)) == 3


def test_a_step_is_found_from_its_number_alone():
    one, other = Order(50, 8, 3), Order(50, 8, 3)
    backwards = {step: other.indices(step) for step in reversed(range(21))}
    assert all(torch.equal(one.indices(step), backwards[step]) for step in range(21))


def test_epochs_and_seeds_have_orders_of_their_own():
    def epoch(seed, number):
        order = Order(50, 50, seed)
        return order.indices(number).tolist()

    assert len({tuple(epoch(seed, number)) for seed in range(4) for number in range(4)}) == 16


@given(count=st.integers(1, 100), world=st.integers(1, 7), size=st.integers(1, 20))
@settings(deadline=None)
def test_processes_and_parts_share_a_step_by_weight(count, world, size):
    indices = torch.randperm(1000)[:count]
    values = torch.randn(1000, dtype=torch.float64)
    parts = [
        part for rank in range(world) for part in micro_batches(indices, rank=rank, world=world, size=size)
    ]
    mean = sum(weight * values[part].mean() for part, weight in parts)
    torch.testing.assert_close(mean, values[indices].mean())
    assert all(1 <= len(part) <= size for part, _ in parts)
    assert sorted(torch.cat([part for part, weight in parts if weight]).tolist()) == sorted(indices.tolist())


def test_no_process_is_left_without_a_part():
    parts = [micro_batches(torch.tensor([4]), rank=rank, world=3, size=2) for rank in range(3)]
    assert [[(part.tolist(), weight) for part, weight in p] for p in parts] == [
        [([4], 1.0)],
        [([4], 0.0)],
        [([4], 0.0)],
    ]


def test_parts_are_even():
    lengths = [len(part) for part, _ in micro_batches(torch.arange(9), rank=0, world=1, size=4)]
    assert lengths == [3, 3, 3]


@pytest.mark.parametrize(("step", "epochs"), [(0, 0.0), (1, 0.4), (2, 0.8), (3, 1.0), (4, 1.4)])
def test_epochs_count_examples(step, epochs):
    assert Order(10, 4, 0).epochs(step) == pytest.approx(epochs)
