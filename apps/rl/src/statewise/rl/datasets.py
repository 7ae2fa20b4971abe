"""Named sets of recorded episodes: those that the benchmarks of this app learn from."""

from __future__ import annotations

from statewise.core.datasets import Dataset

__all__ = ["DATASETS"]

_CREDIT = "recorded with the scripted controllers of this project"


def _set(summary: str, file: str, sha256: str, size: int) -> Dataset:
    return Dataset(summary=summary, file=file, sha256=sha256, licence="CC0", credit=_CREDIT, size=size)


DATASETS = {
    "pendulum-random": _set(
        "50 episodes of Pendulum, 10,000 steps: random actions; mean return -1168",
        "pendulum-random.npz",
        "cf0025df3a2b9d56403d2b689ab2d100d45437aaaca8e54e874edc8f85e5f2dd",
        185_467,
    ),
    "pendulum-medium": _set(
        "50 episodes of Pendulum, 10,000 steps: the scripted controller, disturbed; mean return -661",
        "pendulum-medium.npz",
        "a3cb7628fcb6061bfbf4380ca11e97bb347cec18fb0c2d52d4e3664333402594",
        171_614,
    ),
    "pendulum-expert": _set(
        "50 episodes of Pendulum, 10,000 steps: the scripted controller; mean return -151",
        "pendulum-expert.npz",
        "69f250075a53f0a975097c70568598a6fd07dfa41da6e721f733da28b01883bd",
        178_856,
    ),
    "pendulum-replay": _set(
        "60 episodes of Pendulum, 12,000 steps: random, then disturbed, then clean actions; mean return -670",
        "pendulum-replay.npz",
        "0725b53531c9d887f9a5fe572f9096904be24570ab518c54d9d43ac52427e258",
        214_787,
    ),
    "cartpole-random": _set(
        "40 episodes of CartPole, 806 steps: random actions; mean return 20",
        "cartpole-random.npz",
        "67f19f63c70326dca03a4a5947a4576b63f5ed073fcdb37a0bb99495f061e0e2",
        13_694,
    ),
    "cartpole-medium": _set(
        "40 episodes of CartPole, 2,258 steps: the scripted controller, disturbed; mean return 56",
        "cartpole-medium.npz",
        "67e04c1cc50b4420db612eaf409fd1e9e58b9cec07c1dcea06a0c7050f2cc896",
        35_877,
    ),
    "cartpole-expert": _set(
        "40 episodes of CartPole, 20,000 steps: the scripted controller; mean return 500",
        "cartpole-expert.npz",
        "53a5889b138728732e57b291e7b5e9337caf078943b1620f46705349b5397015",
        302_811,
    ),
    "cartpole-replay": _set(
        "48 episodes of CartPole, 9,442 steps: random, then disturbed, then clean actions; mean return 197",
        "cartpole-replay.npz",
        "37de34160e538312723155a0378e9f85c3f55c945ee7979e33d3aa31c9a2a4fb",
        143_569,
    ),
}
"""By name; `rl collect` records sets like them, and none has an address from which this version fetches."""
