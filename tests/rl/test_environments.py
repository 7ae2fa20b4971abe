from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from statewise.core.errors import CheckpointError, UserError
from statewise.rl.acting import RandomActor
from statewise.rl.collect import record_episodes
from statewise.rl.environments import ENVIRONMENTS
from statewise.rl.environments.experts import Noisy, expert
from statewise.rl.environments.make import EnvironmentSpec, make, make_vector, options_from
from statewise.rl.environments.stream import Stream
from statewise.rl.evaluation import play
from statewise.rl.interface import Interface

PLAIN = "odd_environments:Plain-v0"
REACHED = {"catch": 5.0, "dodge": 12.0, "tmaze": 1.0, "repeat-previous": 1.0, "masked-cartpole": 500.0}
"""What the scripted controllers reach at least, in the middle half."""


@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS if not name.startswith("masked")])
def test_own_environments_keep_the_rules_of_gymnasium(name: str):
    check_env(ENVIRONMENTS.load(name)(render_mode="rgb_array"), skip_render_check=True)


@pytest.mark.parametrize("name", REACHED)
def test_an_expert_is_far_above_random_actions(name: str):
    spec = EnvironmentSpec(id=name)
    scripted = expert(name, {})
    random = RandomActor(make(spec).action_space)
    best, worst = (play(actor, spec, episodes=12).returns for actor in (scripted, random))
    assert np.median(best) >= REACHED[name]
    assert np.median(best) > np.median(worst) + 0.5


def test_guessing_in_repeat_previous_gives_minus_a_half():
    spec = EnvironmentSpec(id="repeat-previous", options={"lag": 2})
    returns = play(RandomActor(make(spec).action_space), spec, episodes=100).returns
    assert returns.mean() == pytest.approx(-0.5, abs=0.04)


def test_the_cue_of_the_tmaze_is_shown_once():
    env = make(EnvironmentSpec(id="tmaze", options={"length": 5}))
    seen = [env.reset(seed=0)[0]] + [env.step(0)[0] for _ in range(5)]
    assert [abs(one[0]) for one in seen] == [1, 0, 0, 0, 0, 0]
    assert [one[1] for one in seen] == [0, 0, 0, 0, 0, 1]
    _, reward, terminated, truncated, _ = env.step(int(seen[0][0] > 0))
    assert (reward, terminated, truncated) == (1.0, True, False)


@pytest.mark.parametrize("name", ["catch", "CartPole-v1", "masked-pendulum", PLAIN])
def test_a_scripted_policy_stores_the_same_in_every_autoreset_mode(name: str):
    spec = EnvironmentSpec(id=name)

    class Reflex(RandomActor):
        """Acts on the observation alone."""

        def act(self, observation, reward, first):
            flat = observation.reshape(len(observation), -1).astype(float)
            signs = flat @ np.sin(np.arange(flat.shape[1]) + 1)
            if hasattr(self.space, "n"):
                return (np.abs(signs * 7).astype(int)) % int(self.space.n)
            return np.clip(signs[:, None], self.space.low, self.space.high).astype(np.float32)

    recordings = [
        record_episodes(spec, Reflex(make(spec).action_space), episodes=11, seed=5, autoreset=mode)
        for mode in ("disabled", "same-step", "next-step")
    ]
    assert [len(one) for one in recordings] == [11, 11, 11]
    for other in recordings[1:]:
        for one, two in zip(recordings[0], other, strict=True):
            for field in ("observations", "actions", "rewards", "terminations", "truncations"):
                np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
    assert all(len(one.observations) == len(one.rewards) + 1 for one in recordings[0])


def test_environments_are_seeded_once_and_then_go_on_with_their_generator():
    stream = Stream(make_vector(EnvironmentSpec(id="CartPole-v1"), 2))
    stream.reset(0)
    starts = [stream.observation[0]]
    while len(starts) < 4:
        step = stream.step(np.array([1, 1]))
        if step.done[0]:
            starts.append(stream.observation[0])
    assert len({one.tobytes() for one in starts}) == 4


@pytest.mark.parametrize("name", ["catch", "dodge", "repeat-previous", "CartPole-v1", "Pendulum-v1", PLAIN])
def test_a_snapshot_brings_an_environment_back_exactly(name: str):
    spec = EnvironmentSpec(id=name)
    env, again = make(spec), make(spec)
    generator = np.random.default_rng(0)

    def action():
        return _drawn(env.action_space, generator)

    env.reset(seed=3)
    for _ in range(37):
        observation, _, terminated, truncated, _ = env.step(action())
        if terminated or truncated:
            observation, _ = env.reset()
    again.restore(env.snapshot(), observation)
    for _ in range(30):
        chosen = action()
        one, two = env.step(chosen), again.step(chosen)
        np.testing.assert_array_equal(one[0], two[0])
        assert one[1:4] == two[1:4]
        if one[2] or one[3]:
            np.testing.assert_array_equal(env.reset()[0], again.reset()[0])


def _drawn(space, generator):
    if hasattr(space, "n"):
        return int(generator.integers(space.n))
    return generator.uniform(space.low, space.high).astype(np.float32)


def test_an_environment_with_chance_of_its_own_is_not_restored_in_silence():
    env, again = (make(EnvironmentSpec(id="odd_environments:Private-v0")) for _ in range(2))
    observation, _ = env.reset(seed=0)
    with pytest.raises(CheckpointError, match="does not repeat"):
        again.restore(env.snapshot(), observation)


def test_every_space_becomes_a_vector_and_actions_begin_at_nought():
    env = make(EnvironmentSpec(id="odd_environments:Mixed-v0"))
    interface = Interface.of(env)
    assert interface.observation == (3 + 2 + (2 + 3) + 4 + 2,)
    assert interface.classes == 2
    observation, _ = env.reset(seed=0)
    assert observation.dtype == np.float32
    rewards = [env.step(action)[1] for action in (0, 1, 1, 0)]
    assert rewards == [0.0, 1.0, 1.0, 0.0]
    assert env.unwrapped.taken == [5, 6, 6, 5]


def test_a_noisy_actor_keeps_the_clean_action_beside_the_disturbed_one():
    spec = EnvironmentSpec(id="CartPole-v1")

    def recorded(clean: bool):
        space = make(spec).action_space
        actor = Noisy(expert("CartPole-v1", {}), RandomActor(space), 0.3)
        return record_episodes(spec, actor, episodes=3, seed=0, clean=clean)

    taken, labelled = recorded(False), recorded(True)
    scripted = expert("CartPole-v1", {})
    scripted.begin(1, 0)
    differ = 0
    for one, two in zip(taken, labelled, strict=True):
        np.testing.assert_array_equal(one.observations, two.observations)
        said = [scripted.choose([o]) for o in two.observations[:-1]]
        np.testing.assert_array_equal(two.actions, said)
        differ += int((one.actions != two.actions).sum())
    assert differ > 0


def test_evaluation_does_not_depend_on_how_many_episodes_run_beside():
    spec = EnvironmentSpec(id="CartPole-v1")
    few, many = (play(expert("CartPole-v1", {}), spec, episodes=n, limit=60).returns for n in (2, 5))
    np.testing.assert_array_equal(few, many[:2])
    space = make(spec).action_space
    few, many = (play(RandomActor(space), spec, episodes=n).returns for n in (2, 5))
    np.testing.assert_array_equal(few, many[:2])


def test_options_are_json_where_they_can_be():
    assert options_from(["length=100", "mode=easy", "fast=true"]) == {
        "length": 100,
        "mode": "easy",
        "fast": True,
    }
    with pytest.raises(UserError, match="--set"):
        options_from(["length"])


def test_a_vector_environment_of_someone_else_is_read_by_its_own_mode():
    env = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    stream = Stream(env)
    stream.reset(0)
    steps = [stream.step(np.array([1, 0])) for _ in range(30)]
    skipped = [step for step in steps if not step.valid.all()]
    assert skipped
    assert all((step.reward[~step.valid] == 0).all() for step in skipped)


def test_atari_frames_repeat_the_action_and_take_the_brighter_of_the_last_two():
    from gymnasium import spaces

    from statewise.rl.environments.atari import AtariFrames

    class Screen(gymnasium.Env):
        observation_space = spaces.Box(0, 255, (210, 160, 3), np.uint8)
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.t = 0
            return np.zeros((210, 160, 3), np.uint8), {}

        def step(self, action):
            self.t += 1
            return np.full((210, 160, 3), 10 * (self.t % 4), np.uint8), 1.0, self.t == 6, False, {}

    env = AtariFrames(Screen())
    assert env.reset(seed=0)[0].shape == (64, 64, 3)
    frame, reward, over, _, _ = env.step(0)
    assert (frame.max(), reward, over) == (30, 4.0, False)  # of frames 3 and 4, 30 and 0
    frame, reward, over, _, _ = env.step(0)
    assert (frame.max(), reward, over) == (20, 2.0, True)  # frames 5 and 6, and the game is over
