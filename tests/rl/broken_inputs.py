"""Broken inputs: what a person may hand to `rl`, and what the message must name.

Each case is a name, a function that makes the files in a folder and returns the whole command line, and
pieces of text that the error must hold: the place and, where there is one, the fix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

Build = Callable[[Path], list[str]]
ODD = "odd_environments:"
QUICK = ("--steps", "256", "--set", "environments=2", "--set", "minibatches=1", "--set", "rollout=16")


@dataclass(frozen=True)
class Broken:
    name: str
    build: Build
    expected: tuple[str, ...]


def words(*line: str) -> Build:
    return lambda folder: list(line)


def odd(name: str) -> Build:
    return words("fit", f"{ODD}{name}-v0", *QUICK)


def arrays() -> dict[str, np.ndarray]:
    return {
        "obs": np.arange(12, dtype=np.float32).reshape(6, 2),
        "act": np.array([0, 1, 1, 0, 1, 0], np.int8),
        "rew": np.ones(6, np.float32),
        "term": np.array([0, 0, 1, 0, 0, 1], bool),
        "trunc": np.zeros(6, bool),
        "ep": np.array([0, 0, 0, 1, 1, 1], np.int32),
    }


def npz(*flags: str, **changes) -> Build:
    def build(folder: Path) -> list[str]:
        kept = {name: value for name, value in (arrays() | changes).items() if value is not None}
        np.savez(folder / "data.npz", **kept)
        model = [] if "--model" in flags else ["--model", "bc"]
        return ["fit", "data.npz", *model, "--steps", "2", *flags]

    return build


def raw(name: str, data: bytes) -> Build:
    def build(folder: Path) -> list[str]:
        (folder / name).write_bytes(data)
        return ["fit", name, "--model", "bc"]

    return build


def hdf5(steps: int = 3, observations: int | None = None, **changes) -> Build:
    """One episode, its datasets replaced or (None) left out."""

    def build(folder: Path) -> list[str]:
        count = steps + 1 if observations is None else observations
        fields = {
            "observations": np.zeros((count, 2), np.float32),
            "actions": np.zeros(steps, np.int64),
            "rewards": np.zeros(steps),
            "terminations": np.zeros(steps, bool),
            "truncations": np.zeros(steps, bool),
        } | changes
        with h5py.File(folder / "main_data.hdf5", "w") as file:
            group = file.create_group("episode_0")
            for name, value in fields.items():
                if value is not None:
                    group[name] = value
        return ["fit", "main_data.hdf5", "--model", "bc"]

    return build


def empty_hdf5(folder: Path) -> list[str]:
    h5py.File(folder / "x.hdf5", "w").close()
    return ["fit", "x.hdf5"]


def torn_metadata(folder: Path) -> list[str]:
    line = hdf5()(folder)
    (folder / "metadata.json").write_text('{"total_episodes": ')
    return line


def plain_directory(folder: Path) -> list[str]:
    (folder / "things").mkdir()
    return ["fit", "things"]


def foreign_run(folder: Path) -> list[str]:
    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text('{"lr": 0.1}')
    return ["evaluate", "run"]


def occupied(folder: Path) -> list[str]:
    (folder / "set").mkdir()
    (folder / "set" / "note.txt").write_text("mine")
    return ["collect", "tmaze", "--out", "set", "--episodes", "1"]


CASES = [
    Broken("unknown environment", words("fit", "CartPol-v1"), ("CartPol-v1", "did you mean 'CartPole-v1'?")),
    Broken("a name of ours misspelt", words("fit", "t-maze"), ("t-maze", "tmaze")),
    Broken("package that is not there", words("fit", "robots:Arm-v0"), ("robots:Arm-v0", "PYTHONPATH")),
    Broken(
        "extra that is not there", words("fit", "MinAtar/Breakout-v1"), ("minatar", "statewise-rl[minatar]")
    ),
    Broken("option of the environment", words("fit", "tmaze", "--env-set", "leng=3"), ("leng", "length")),
    Broken("option out of bounds", words("fit", "tmaze", "--env-set", "length=0"), ("length", "at least 1")),
    Broken(
        "option without a value", words("fit", "tmaze", "--env-set", "length"), ("--env-set", "NAME=VALUE")
    ),
    Broken("environment that cannot be made", odd("FailsToStart"), ("FailsToStart", "robot.urdf")),
    Broken("environment that raises in step", odd("Raises"), ("Raises-v0", "KeyError", "joint_7", "step 4")),
    Broken("reward that is not a number", odd("NanReward"), ("reward", "not finite", "nan")),
    Broken("observation that is not finite", odd("NanObservation"), ("observes", "not finite", "inf")),
    Broken("observation that changes its shape", odd("Grows"), ("changes the shape", "(3,)", "(2,)")),
    Broken("step of gym 0.21", odd("Four"), ("five values", "tuple of 4", "terminated, truncated")),
    Broken("reset of gym 0.21", odd("OldReset"), ("reset", "two values")),
    Broken("reward in words", odd("TextReward"), ("reward", "str")),
    Broken("observations in words", odd("TextObservation"), ("Text", "Box")),
    Broken("actions without bounds", odd("Unbounded"), ("actions", "finite bounds")),
    Broken("unknown model", words("fit", "tmaze", "--model", "s5-pop"), ("s5-pop", "did you mean 's5-ppo'?")),
    Broken("unknown setting", words("fit", "tmaze", "--set", "wdth=3"), ("wdth", "did you mean 'width'?")),
    Broken("setting of a wrong type", words("fit", "tmaze", "--set", "width=wide"), ("width", "int")),
    Broken("setting out of bounds", words("fit", "tmaze", "--set", "clip=-1"), ("clip", "more than 0")),
    Broken(
        "memory that reads both ways", words("fit", "tmaze", "--set", "memory=hydra"), ("hydra", "streams")
    ),
    Broken(
        "model for data, in an environment",
        words("fit", "tmaze", "--model", "dt"),
        ("dt", "from data", "rl collect"),
    ),
    Broken(
        "model for environments, on data", npz("--model", "s5-ppo"), ("s5-ppo", "in an environment", "ds4")
    ),
    Broken("world model of numbers", words("fit", "Pendulum-v1", "--model", "drama"), ("classes", "s5-ppo")),
    Broken("a device that is not used", words("fit", "tmaze", "--device", "cuda"), ("--device", "CPU")),
    Broken("nothing named", words("fit"), ("rl fit CartPole-v1",)),
    Broken("file that is not there", words("fit", "gone.npz"), ("gone.npz", "no such file")),
    Broken("array that is missing", npz(ep=None), ("data.npz", "'ep'", "obs, act, rew, term, trunc, ep")),
    Broken("arrays of unequal length", npz(rew=np.ones(5)), ("number of rows", "(5, ...)")),
    Broken("ids out of order", npz(ep=np.array([0, 0, 1, 1, 0, 0])), ("row 4", "id 0", "sort")),
    Broken("no steps", npz(**{name: value[:0] for name, value in arrays().items()}), ("no step",)),
    Broken(
        "an episode that goes on after its end",
        npz(term=np.array([0, 1, 0, 0, 0, 1], bool)),
        ("row 1", "after its end"),
    ),
    Broken(
        "observation that is NaN", npz(obs=np.where(np.eye(6, 2) > 0, np.nan, 1.0)), ("row 0", "'obs'", "nan")
    ),
    Broken(
        "pickled objects", npz(obs=np.array([[1], [2, 3], 0, 0, 0, 0], object)), ("objects", "could run code")
    ),
    Broken(
        "text in the place of an archive", raw("data.npz", b"obs,act\n1,2\n"), ("data.npz", "cannot be read")
    ),
    Broken("spreadsheet", raw("data.csv", b"obs,act\n1,2\n"), ("data.csv", ".npz")),
    Broken("elements that are not there", npz("--columns", "0,5"), ("--columns", "0 to 1")),
    Broken("columns in words", npz("--columns", "x,y"), ("--columns", "x,y")),
    Broken("data of another environment", npz("--env", "CartPole-v1"), ("CartPole-v1", "--columns")),
    Broken(
        "HDF5 without the last observation", hdf5(observations=3), ("final observation", "4", "episode_0")
    ),
    Broken("HDF5 with an episode of no length", hdf5(steps=0), ("without a step", "episode_0")),
    Broken("HDF5 without rewards", hdf5(rewards=None), ("'rewards'", "episode_0")),
    Broken("HDF5 with too few actions", hdf5(actions=np.zeros(2, np.int64)), ("2 actions", "3 rewards")),
    Broken("HDF5 without episodes", empty_hdf5, ("no episodes", "episode_0")),
    Broken("HDF5 that is none", raw("x.hdf5", b"\x89HDF nothing"), ("x.hdf5", "cannot be read")),
    Broken("metadata that are torn", torn_metadata, ("metadata.json", "JSON")),
    Broken("directory without data", plain_directory, ("things", "main_data.hdf5")),
    Broken("run that is not there", words("evaluate", "runs/none"), ("runs/none", "no such directory")),
    Broken("directory of another program", foreign_run, ("config.json", "not written by statewise")),
    Broken("resume of nothing", words("fit", "--resume", "runs/none"), ("runs/none", "not a run")),
    Broken("set that is there already", occupied, ("set", "--out")),
    Broken(
        "no expert", words("collect", "masked-acrobot", "--policy", "expert"), ("masked-acrobot", "rl fit")
    ),
    Broken("noise beyond one", words("collect", "tmaze", "--noise", "3"), ("--noise", "from 0 to 1")),
    Broken(
        "film of an unknown kind",
        words("record", "expert", "--env", "tmaze", "--out", "x.avi"),
        (".avi", ".gif"),
    ),
    Broken("set of an unknown name", words("data", "pendulum-mediun"), ("did you mean 'pendulum-medium'?",)),
    Broken("episodes of no file", words("export", "gone.npz", "--format", "minari"), ("gone.npz", "no such")),
    Broken(
        "nothing to go on from",
        words("fit", "Pendulum-v1", "--model", "ds4-online"),
        ("--init", "rl fit DATA"),
    ),
    Broken("film of nothing", words("record", "random"), ("--env",)),
]
