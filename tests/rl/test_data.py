from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import UserError
from statewise.rl.collect import collect
from statewise.rl.data.npz import KEYS
from statewise.rl.data.replay_episodes import ring_episodes
from statewise.rl.data.spaces_json import space_from_json, space_to_json
from statewise.rl.data.to_minari import to_minari
from statewise.rl.data.trajectories import read
from statewise.rl.drama.replay import Replay
from statewise.rl.environments.make import EnvironmentSpec
from statewise.rl.environments.stream import Transition


def write_npz(path: Path, **changes) -> Path:
    arrays = {
        "obs": np.arange(12, dtype=np.float32).reshape(6, 2),
        "act": np.array([0, 1, 1, 0, 1, 0], np.int8)[:, None],
        "rew": np.ones(6, np.float32),
        "term": np.array([0, 0, 1, 0, 0, 0], bool),
        "trunc": np.array([0, 0, 0, 0, 0, 1], bool),
        "ep": np.array([7, 7, 7, 9, 9, 9], np.int32),
    }
    arrays |= changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_flat_arrays_become_episodes(tmp_path: Path):
    found = read(write_npz(tmp_path / "x.npz"))
    assert [one.steps for one in found.episodes] == [3, 3]
    assert [one.terminated for one in found.episodes] == [True, False]
    assert found.interface.classes == 2
    assert found.episodes[1].observations.tolist() == [[6, 7], [8, 9], [10, 11]]
    assert not found.episodes[0].has_final
    assert found.spec is None
    assert set(KEYS) == {"obs", "act", "rew", "term", "trunc", "ep"}


def test_a_manifest_names_the_environment(tmp_path: Path):
    (tmp_path / "manifest.json").write_text(json.dumps({"x.npz": {"env": "CartPole-v1"}}))
    assert read(write_npz(tmp_path / "x.npz")).spec == EnvironmentSpec(id="CartPole-v1")


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_any_episodes_come_back_as_they_were(tmp_path_factory, lengths: list[int], random):
    folder = tmp_path_factory.mktemp("sets")
    ids = random.sample(range(1000), len(lengths))
    rows = sum(lengths)
    ep = np.repeat(ids, lengths).astype(np.int32)
    rewards = np.array([random.uniform(-5, 5) for _ in range(rows)], np.float32)
    ends = np.cumsum(lengths) - 1
    term, trunc = np.zeros(rows, bool), np.zeros(rows, bool)
    for end in ends:
        (term if random.random() < 0.5 else trunc)[end] = True
    path = write_npz(
        folder / "x.npz", obs=np.arange(rows)[:, None].astype(np.float32), act=np.zeros(rows, np.int64),
        rew=rewards, term=term, trunc=trunc, ep=ep,
    )  # fmt: skip
    found = read(path)
    assert [one.steps for one in found.episodes] == lengths
    assert [one.terminated for one in found.episodes] == [bool(term[end]) for end in ends]
    joined = np.concatenate([one.rewards for one in found.episodes])
    np.testing.assert_allclose(joined, rewards, rtol=1e-6)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "catch", "repeat-previous"])
def test_a_collected_set_loads_with_minari_and_with_us(name: str, tmp_path: Path):
    minari = pytest.importorskip("minari")
    done = collect(EnvironmentSpec(id=name), out=tmp_path / "some-v0", policy="expert", episodes=3, noise=0.1)
    ours = read(done.path)
    theirs = minari.MinariDataset(done.path / "data")
    assert theirs.total_episodes == 3
    assert theirs.total_steps == done.steps
    for one, other in zip(ours.episodes, theirs.iterate_episodes(), strict=True):
        assert one.has_final
        np.testing.assert_array_equal(one.observations, other.observations.reshape(one.observations.shape))
        np.testing.assert_array_equal(one.actions, other.actions.reshape(one.actions.shape))
        np.testing.assert_allclose(one.rewards, other.rewards)
        assert one.terminated == bool(other.terminations[-1])
    assert ours.spec == EnvironmentSpec(id=name)
    assert ours.interface.observation == theirs.observation_space.shape


def test_a_set_written_by_minari_loads_here(tmp_path: Path, monkeypatch):
    minari = pytest.importorskip("minari")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    generator = np.random.default_rng(0)
    space = spaces.Dict({"place": spaces.Box(-1, 1, (2,), np.float32), "kind": spaces.Discrete(3)})
    buffers = [
        EpisodeBuffer(
            id=number,
            observations={
                "place": generator.uniform(-1, 1, (steps + 1, 2)).astype(np.float32),
                "kind": generator.integers(3, size=steps + 1),
            },
            actions=generator.uniform(-2, 2, (steps, 1)).astype(np.float32),
            rewards=list(generator.normal(size=steps)),
            terminations=[False] * (steps - 1) + [True],
            truncations=[False] * steps,
        )
        for number, steps in enumerate((4, 11))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would like an author and a link
        minari.create_dataset_from_buffers(
            "own/thing-v0",
            buffers,
            observation_space=space,
            action_space=spaces.Box(-2, 2, (1,), np.float32),
            data_format="hdf5",
        )
    found = read(tmp_path / "own" / "thing-v0")
    assert [one.steps for one in found.episodes] == [4, 11]
    assert found.interface.observation == (5,)
    assert found.interface.low == (-2.0,)
    first = found.episodes[0].observations
    # the space orders its keys: kind before place
    np.testing.assert_array_equal(first[:, :3].argmax(-1), buffers[0].observations["kind"])
    np.testing.assert_array_equal(first[:, 3:], buffers[0].observations["place"])


def test_flat_arrays_become_a_set_that_minari_reads(tmp_path: Path):
    minari = pytest.importorskip("minari")
    source = write_npz(tmp_path / "x.npz")
    done = to_minari(source, tmp_path / "x-v0")
    assert (done.episodes, done.steps, done.repeated) == (2, 6, 2)
    theirs = minari.MinariDataset(done.path / "data")
    first, second = theirs.iterate_episodes()
    assert first.observations.tolist() == [[0, 1], [2, 3], [4, 5], [4, 5]]
    assert second.actions.tolist() == [0, 1, 0]
    assert first.terminations.tolist() == [False, False, True]
    assert second.truncations.tolist() == [False, False, True]
    again = read(done.path)
    for one, other in zip(read(source).episodes, again.episodes, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations[:-1])
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.rewards, other.rewards)
        assert one.terminated == other.terminated
    with pytest.raises(UserError, match="holds something already"):
        to_minari(source, tmp_path / "x-v0")


def test_a_full_ring_is_cut_into_episodes_oldest_first():
    replay = Replay(1, 6, (1,), np.float32)
    for t in range(9):  # episodes begin at steps 0, 4 and 7; the ring holds steps 3 to 8
        one = np.array([t], float)
        end, first = np.array([t == 6]), np.array([t in (0, 4, 7)])
        no, yes = np.array([False]), np.array([True])
        replay.add(Transition(one[:, None], np.array([t]), one, one, end, no, first, yes))
    first, second = ring_episodes(replay.state())
    assert first.actions.tolist() == [4, 5, 6]
    assert first.terminated
    assert second.observations.tolist() == [[7], [8]]
    assert not second.terminated


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, np.inf, (2, 3), np.float32),
        spaces.Box(0, 255, (4, 4, 1), np.uint8),
        spaces.Discrete(5, start=2),
    ],
)
def test_spaces_come_back_from_their_text(space):
    assert space_from_json(space_to_json(space), "here") == space
