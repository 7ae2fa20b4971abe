"""Classic control without velocities: what is left of the observation has to be remembered to be derived."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np
from gymnasium import spaces

__all__ = ["masked_acrobot", "masked_cartpole", "masked_mountain_car", "masked_pendulum"]


class Kept(gymnasium.ObservationWrapper):
    """Keeps some elements of a vector.

    Args:
        env: an environment whose observation is a vector.
        places: which elements are kept.
    """

    def __init__(self, env: gymnasium.Env, places: Sequence[int]) -> None:
        super().__init__(env)
        self.places = list(places)
        whole = env.observation_space
        if not isinstance(whole, spaces.Box):
            raise TypeError(f"{type(whole).__name__} is no vector")
        self.observation_space = spaces.Box(whole.low[self.places], whole.high[self.places], dtype=np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """The kept elements."""
        return observation[self.places].astype(np.float32)


def masked_cartpole(render_mode: str | None = None) -> gymnasium.Env:
    """CartPole-v1: the position of the cart and the angle of the pole."""
    return Kept(gymnasium.make("CartPole-v1", render_mode=render_mode, disable_env_checker=True), (0, 2))


def masked_pendulum(render_mode: str | None = None) -> gymnasium.Env:
    """Pendulum-v1: cosine and sine of the angle."""
    return Kept(gymnasium.make("Pendulum-v1", render_mode=render_mode, disable_env_checker=True), (0, 1))


def masked_mountain_car(render_mode: str | None = None) -> gymnasium.Env:
    """MountainCar-v0: the position."""
    return Kept(gymnasium.make("MountainCar-v0", render_mode=render_mode, disable_env_checker=True), (0,))


def masked_acrobot(render_mode: str | None = None) -> gymnasium.Env:
    """Acrobot-v1: cosines and sines of the two angles."""
    return Kept(gymnasium.make("Acrobot-v1", render_mode=render_mode, disable_env_checker=True), (0, 1, 2, 3))
