from __future__ import annotations

import numpy as np
import pytest
import torch

from statewise.rl.data.trajectories import Episode, Trajectories
from statewise.rl.interface import Interface
from statewise.rl.models.aaren_policy import AarenPolicy, AarenPolicyConfig
from statewise.rl.models.bc import BC, BCConfig
from statewise.rl.models.ds4 import DS4, DS4Config
from statewise.rl.models.dt import DT, DTConfig
from statewise.rl.models.sequence import Inputs
from statewise.rl.offline.policy import SequenceActor
from statewise.rl.offline.task import Sequences, SequenceTask

SIZES = {"observation": 3, "outputs": 2, "scale": 10.0}


def models():
    torch.manual_seed(0)
    yield "ds4", DS4(DS4Config(**SIZES, embedding=8, width=8, depth=2, settings={"d_state": 8}))
    yield (
        "ds4-s4",
        DS4(DS4Config(**SIZES, embedding=8, width=8, depth=1, mixer="s4", settings={"d_state": 8})),
    )
    yield "aaren", AarenPolicy(AarenPolicyConfig(**SIZES, width=8, depth=2, heads=2))
    yield "dt", DT(DTConfig(**SIZES, width=8, depth=2, context=12))
    yield "bc", BC(BCConfig(**SIZES, width=8))


MODELS = dict(models())


def inputs(batch: int, length: int, **more) -> Inputs:
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return Inputs(
        draw(batch, length, 3),
        draw(batch, length, 2),
        draw(batch, length),
        torch.arange(length).expand(batch, -1),
        **more,
    )


def at(whole: Inputs, t: int) -> Inputs:
    return Inputs(*(part[:, t] for part in whole[:4]))


@pytest.mark.parametrize("name", MODELS)
def test_a_policy_step_by_step_says_what_it_says_over_the_sequence(name: str):
    model = MODELS[name].eval()
    length = 12 if name == "dt" else 40
    whole = inputs(3, length)
    with torch.no_grad():
        expected = model(whole)
        state, found = model.initial_state(3), []
        for t in range(length):
            y, state = model.step(at(whole, t), state)
            found.append(y)
    torch.testing.assert_close(torch.stack(found, 1), expected, rtol=1e-4, atol=1e-5)


def test_the_window_of_a_transformer_moves_and_is_read_again():
    model = MODELS["dt"].eval()
    whole = inputs(2, 30)
    with torch.no_grad():
        state = model.initial_state(2)
        for t in range(30):
            y, state = model.step(at(whole, t), state)
        last = model(Inputs(*(part[:, 18:] for part in whole[:4])))[:, -1]
    torch.testing.assert_close(y, last, rtol=1e-4, atol=1e-5)


def test_the_cache_is_exact_while_the_episode_fits_the_context():
    model = MODELS["dt"].eval()
    whole = inputs(2, 12)
    with torch.no_grad():
        expected = model(whole)
        cache = model.empty_cache(2)
        for t in range(12):
            y, cache = model.cached_step(at(whole, t), cache)
            torch.testing.assert_close(y, expected[:, t], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_no_policy_sees_the_future_or_the_padding(name: str):
    model = MODELS[name].eval()
    whole = inputs(2, 12)
    later = Inputs(*(part.clone() for part in whole[:4]))
    for part in later[:3]:
        part[:, 7:] = 99.0
    with torch.no_grad():
        torch.testing.assert_close(model(whole)[:, :7], model(later)[:, :7])
        lengths = torch.tensor([7, 7])
        padded = model(Inputs(*later[:4], lengths))
    torch.testing.assert_close(padded[:, :7], model(whole)[:, :7], rtol=1e-4, atol=1e-5)


def test_sizes_of_the_papers():
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    hopper = {"observation": 11, "outputs": 3}
    assert count(DT(DTConfig(**hopper))) == 727_567
    assert count(DS4(DS4Config(**hopper))) == 64_576
    large = DS4.presets["large"]
    assert count(DS4(DS4Config(**hopper, **large))) == 123_360


def test_an_episode_longer_than_the_embedded_steps_goes_on():
    model = DT(DTConfig(**SIZES, width=8, depth=1, context=4, longest=5)).eval()
    with torch.no_grad():
        state = model.initial_state(1)
        for t in range(9):
            y, state = model.step(
                Inputs(torch.ones(1, 3), torch.ones(1, 2), torch.ones(1), torch.tensor([t])), state
            )
    assert torch.isfinite(y).all()


def test_the_action_before_can_be_hidden_and_left_out():
    whole = inputs(4, 10)
    other = whole._replace(before=whole.before + 1)
    hidden = DS4(
        DS4Config(**SIZES, embedding=4, width=4, depth=1, settings={"d_state": 4}, forget=1.0)
    ).eval()
    torch.testing.assert_close(hidden(whole), hidden(other))
    kept = DS4(DS4Config(**SIZES, embedding=4, width=4, depth=1, settings={"d_state": 4}, forget=0.5))
    assert not torch.equal(kept(whole), kept(whole)), "in training another part is hidden each time"
    kept.eval()
    torch.testing.assert_close(kept(whole), kept(whole))
    assert not torch.allclose(kept(whole), kept(other))


def episodes() -> Trajectories:
    generator = np.random.default_rng(0)
    parts = [
        Episode(
            observations=generator.normal(size=(n, 3)).astype(np.float32),
            actions=generator.integers(2, size=n),
            rewards=np.arange(n, dtype=float),
            terminated=True,
        )
        for n in (5, 9, 2)
    ]
    return Trajectories(
        episodes=tuple(parts), interface=Interface(observation=(3,), classes=2), source="made here"
    )


def test_windows_hold_the_action_before_the_return_to_come_and_the_step():
    data = episodes()
    batch = Sequences(data).cut([(1, 4), (2, 0)], length=3)
    one = data.episodes[1]
    np.testing.assert_array_equal(batch.observation[0], one.observations[4:7])
    np.testing.assert_array_equal(batch.before[0].argmax(-1), one.actions[3:6])
    np.testing.assert_array_equal(batch.to_go[0], [sum(range(t, 9)) for t in (4, 5, 6)])
    np.testing.assert_array_equal(batch.time[0], [4, 5, 6])
    np.testing.assert_array_equal(batch.action[0], one.actions[4:7])
    assert batch.lengths.tolist() == [3, 2]
    assert batch.before[1, 0].tolist() == [0.0, 0.0], "nothing was done before the first step"
    assert not batch.observation[1, 2].any(), "padded on the right"


def test_the_loss_counts_no_padding():
    sequences = Sequences(episodes())
    model = BC(BCConfig(observation=3, outputs=2, discrete=True, width=4))
    task = SequenceTask(model, sequences, train=[0, 1, 2], validation=[])
    whole = sequences.cut([(0, 0), (1, 0), (2, 0)], None)
    apart = [task.loss(model, sequences.cut([(i, 0)], None)).item() * n for i, n in enumerate((5, 9, 2))]
    assert task.loss(model, whole).item() == pytest.approx(sum(apart) / 16, rel=1e-5)


def test_delayed_reward_and_the_best_part():
    data = episodes()
    late = data.episodes[0].delayed()
    assert late.rewards.tolist() == [0, 0, 0, 0, 10]
    assert late.total == data.episodes[0].total
    assert [one.steps for one in data.best(0.34).episodes] == [9]
    assert data.columns([0, 2]).interface.observation == (2,)


class Remembered(torch.nn.Module):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def initial_state(self, count):
        return (torch.zeros(count, 1),)

    def step(self, told, state):
        self.told.append(Inputs(*(part.clone() if part is not None else None for part in told)))
        return torch.tensor([[1.0, 0.0], [0.0, 1.0]]), (state[0] + 1,)


@pytest.mark.parametrize("delayed", [False, True])
def test_the_return_asked_for_falls_by_every_raw_reward_and_starts_again_with_an_episode(delayed: bool):
    network = Remembered()
    actor = SequenceActor(network, Interface(observation=(3,), classes=2), target=7.0, delayed=delayed)
    actor.begin(2, seed=0)
    o = np.zeros((2, 3), np.float32)
    flags = lambda *values: np.array(values)  # noqa: E731
    assert actor.act(o, np.zeros(2), flags(True, True)).tolist() == [0, 1]
    actor.act(o, np.array([1.5, -2.0]), flags(False, False))
    actor.act(o, np.array([0.0, 1.0]), flags(True, False))
    to_go = [told.to_go.tolist() for told in network.told]
    expected = [[7, 7], [7, 7], [7, 7]] if delayed else [[7, 7], [5.5, 9], [7, 8]]
    assert to_go == expected
    assert [told.time.tolist() for told in network.told] == [[0, 0], [1, 1], [0, 2]]
    assert network.told[1].before.tolist() == [[1, 0], [0, 1]]
    assert network.told[2].before.tolist() == [[0, 0], [0, 1]]
