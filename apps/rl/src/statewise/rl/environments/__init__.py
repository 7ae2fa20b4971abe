"""Environments that come with the app, and how any gymnasium environment is made, checked and stepped."""

from __future__ import annotations

from statewise.core.registry import Entry, Registry

__all__ = ["ENVIRONMENTS"]

_HERE = "statewise.rl.environments"

ENVIRONMENTS = Registry(
    "environment",
    {
        "catch": Entry(
            target=f"{_HERE}.pixels:Catch",
            summary="16 x 16 pixels: catch a ball that drifts and bounces; return -5 to 5",
            facts={"options": ("balls",), "needs memory": "a little: velocities"},
        ),
        "dodge": Entry(
            target=f"{_HERE}.pixels:Dodge",
            summary="16 x 16 pixels: keep out of the way of falling blocks; return up to 20",
            facts={"options": ("gap", "limit"), "needs memory": "no"},
        ),
        "tmaze": Entry(
            target=f"{_HERE}.tmaze:TMaze",
            summary="a cue at the start says where to turn at the end; return -1 or 1",
            paper="Bakker, Reinforcement Learning with Long Short-Term Memory",
            year=2001,
            facts={"options": ("length",), "solved": 0.9, "needs memory": "for `length` steps"},
        ),
        "repeat-previous": Entry(
            target=f"{_HERE}.repeat_previous:RepeatPrevious",
            summary="say the suit of the card of `lag` steps ago; return -1 to 1",
            paper="Morad et al., POPGym: Benchmarking Partially Observable Reinforcement Learning",
            year=2023,
            facts={"options": ("lag", "decks"), "needs memory": "for `lag` steps"},
        ),
        "masked-cartpole": Entry(
            target=f"{_HERE}.masked:masked_cartpole",
            summary="CartPole-v1 without velocities; return up to 500",
            facts={"options": (), "solved": 475.0, "needs memory": "a little: velocities"},
        ),
        "masked-pendulum": Entry(
            target=f"{_HERE}.masked:masked_pendulum",
            summary="Pendulum-v1 without the angular velocity; return about -1500 to 0",
            facts={"options": (), "needs memory": "a little: velocities"},
        ),
        "masked-mountain-car": Entry(
            target=f"{_HERE}.masked:masked_mountain_car",
            summary="MountainCar-v0 without the velocity; return -200 to -90",
            facts={"options": (), "needs memory": "a little: velocities"},
        ),
        "masked-acrobot": Entry(
            target=f"{_HERE}.masked:masked_acrobot",
            summary="Acrobot-v1 without the angular velocities; return -500 to -70",
            facts={"options": (), "needs memory": "a little: velocities"},
        ),
    },
    group="statewise.rl.environments",
)
