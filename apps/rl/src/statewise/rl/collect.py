"""Recording episodes: whatever acts, in any autoreset mode, into a data set that Minari reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from gymnasium.vector import AutoresetMode

from statewise.core.errors import ConfigError
from statewise.rl.acting import Actor, RandomActor
from statewise.rl.data.minari_files import Recorded, write_dataset
from statewise.rl.environments.experts import Noisy, expert
from statewise.rl.environments.make import EnvironmentSpec, make, make_vector
from statewise.rl.environments.stream import Stream, Transition
from statewise.rl.interface import Interface

__all__ = ["Autoreset", "Collected", "collect", "policy_of", "record_episodes"]

Autoreset: TypeAlias = Literal["disabled", "next-step", "same-step"]
MODES = {
    "disabled": AutoresetMode.DISABLED,
    "next-step": AutoresetMode.NEXT_STEP,
    "same-step": AutoresetMode.SAME_STEP,
}
_LANES = 8


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What was recorded."""

    path: Path
    episodes: int
    steps: int
    returns: np.ndarray
    """(E,)."""


def collect(
    spec: EnvironmentSpec,
    *,
    out: Path,
    policy: str = "random",
    episodes: int = 50,
    noise: float = 0.0,
    clean: bool = False,
    seed: int = 0,
    autoreset: Autoreset = "disabled",
    author: str = "",
    progress: Callable[[float, str], None] | None = None,
) -> Collected:
    """Play episodes and write them.

    Args:
        spec: the environment.
        out: directory of the set; a name ending in -v0 is one that Minari finds.
        policy: random, expert, or a run directory.
        episodes: number of them.
        noise: probability per step that a random action takes over for two to six steps.
        clean: record the undisturbed action of every step, although the disturbed one was taken: a policy
            learnt from that sees how to get back on course.
        seed: of the environments and of everything drawn.
        autoreset: how the vector environment goes on after an episode; the recording is the same in all.
        author: for the metadata.
        progress: told the fraction done.

    Raises:
        ConfigError: the directory holds something, or there is no such policy.
    """
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise ConfigError("holds something already", where=str(out), fix="choose a new directory with --out")
    if not 0 <= noise <= 1:
        raise ConfigError("is no probability", where="--noise", seen=str(noise), expected="from 0 to 1")
    probe = make(spec)
    actor = policy_of(policy, spec, Interface.of(probe), probe.action_space)
    if noise > 0:
        actor = Noisy(actor, RandomActor(probe.action_space), noise)
    recorded = record_episodes(
        spec, actor, episodes=episodes, seed=seed, autoreset=autoreset, clean=clean, progress=progress
    )
    path = write_dataset(
        out,
        recorded,
        spec=spec,
        observation_space=probe.observation_space,
        action_space=probe.action_space,
        author=author,
        algorithm=policy if noise == 0 else f"{policy}, disturbed with probability {noise:g}",
    )
    probe.close()
    returns = np.array([one.rewards.sum() for one in recorded])
    steps = sum(len(one.rewards) for one in recorded)
    return Collected(path=path, episodes=len(recorded), steps=steps, returns=returns)


def policy_of(name: str, spec: EnvironmentSpec, interface: Interface, space: Any) -> Actor:
    """The actor called `name`: random, expert, or a run directory.

    Raises:
        ConfigError: there is no scripted controller for this environment.
        CheckpointError: there is no such run.
    """
    if name == "random":
        return RandomActor(space)
    if name == "expert":
        scripted = expert(spec.id, spec.options)
        if scripted is None:
            raise ConfigError(
                f"there is no scripted controller for '{spec.label}'",
                where="--policy",
                seen=name,
                expected="random or a run directory",
                fix=f"train one first: rl fit {spec.id}",
            )
        return scripted
    from statewise.rl.saved import load_policy

    saved = load_policy(name)
    saved.interface.require_same(interface, model=name, environment=spec.label)
    return saved.actor(greedy=saved.family != "agent")


def record_episodes(
    spec: EnvironmentSpec,
    actor: Actor,
    *,
    episodes: int,
    seed: int,
    autoreset: Autoreset = "disabled",
    clean: bool = False,
    progress: Callable[[float, str], None] | None = None,
) -> list[Recorded]:
    """Episodes of several environments side by side, those of the first one first.

    Each environment plays a number of episodes that is set beforehand, so that short episodes are not more
    likely to be recorded than long ones.
    """
    lanes = min(_LANES, episodes)
    quota = [episodes // lanes + (lane < episodes % lanes) for lane in range(lanes)]
    stream = Stream(make_vector(spec, lanes, MODES[autoreset]))
    stream.reset(seed)
    actor.begin(lanes, seed)
    taking = _Recorder(lanes)
    reward = np.zeros(lanes)
    try:
        while any(len(done) < most for done, most in zip(taking.finished, quota, strict=True)):
            action = actor.act(stream.observation, reward, stream.first.copy())
            step = stream.step(action)
            reward = np.where(step.done, 0.0, step.reward)
            labels = actor.clean if clean and isinstance(actor, Noisy) else action
            taking.add(step, np.asarray(labels))
            if progress is not None:
                count = sum(min(len(done), most) for done, most in zip(taking.finished, quota, strict=True))
                progress(count / episodes, f"{count} of {episodes} episodes")
    finally:
        stream.env.close()
    return [one for done, most in zip(taking.finished, quota, strict=True) for one in done[:most]]


class _Recorder:
    """Puts the steps of each environment together to episodes."""

    def __init__(self, lanes: int) -> None:
        self.finished: list[list[Recorded]] = [[] for _ in range(lanes)]
        self._open: list[list[tuple[Any, ...]]] = [[] for _ in range(lanes)]

    def add(self, step: Transition, labels: np.ndarray) -> None:
        """Take a step of every environment."""
        for lane in np.flatnonzero(step.valid):
            facts = (
                step.observation[lane].copy(),
                labels[lane].copy(),
                float(step.reward[lane]),
                bool(step.terminated[lane]),
                bool(step.truncated[lane]),
            )
            self._open[lane].append(facts)
            if step.done[lane]:
                self.finished[lane].append(_closed(self._open[lane], step.successor[lane].copy()))
                self._open[lane] = []


def _closed(steps: list[tuple[Any, ...]], last: np.ndarray) -> Recorded:
    observations, actions, rewards, terminated, truncated = zip(*steps, strict=True)
    return Recorded(
        observations=np.stack([*observations, last]),
        actions=np.stack(actions),
        rewards=np.array(rewards, np.float64),
        terminations=np.array(terminated),
        truncations=np.array(truncated),
    )
