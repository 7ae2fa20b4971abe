"""A policy beside what it has to beat: random actions below, a scripted controller above where there is
one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from statewise.rl.acting import Actor, RandomActor
from statewise.rl.environments.experts import expert
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.evaluation import SEEDS, Episodes, play
from statewise.rl.statistics import bootstrap_interval, iqm

__all__ = ["COLUMNS", "Line", "pooled", "rescored", "scoreboard", "verdict"]

COLUMNS = [
    "policy",
    "episodes",
    "IQM",
    "95 % low",
    "95 % high",
    "mean",
    "sd",
    "least",
    "most",
    "length",
    "score",
]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One policy's episodes."""

    name: str
    runs: tuple[Episodes, ...]
    """The episodes of each training run, or of the one policy."""
    score: float | None = None
    """100 (IQM - random) / (expert - random); None where there is no expert."""
    model: bool = True
    """False for what it is compared with."""

    @property
    def returns(self) -> np.ndarray:
        """All returns."""
        return np.concatenate([one.returns for one in self.runs])

    @property
    def iqm(self) -> float:
        """The interquartile mean over all episodes."""
        return iqm(self.returns)

    def cells(self) -> list[Any]:
        """A line of the table, in the order of `COLUMNS`."""
        low, high = bootstrap_interval([one.returns for one in self.runs])
        every, lengths = self.returns, np.concatenate([one.lengths for one in self.runs])
        numbers = [self.iqm, low, high, every.mean(), every.std(), every.min(), every.max(), lengths.mean()]
        rounded = [round(float(number), 3) for number in numbers]
        return [self.name, len(every), *rounded, None if self.score is None else round(self.score, 1)]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the numbers of the table and every single return."""
        names = [
            "episodes",
            "iqm",
            "iqm_low",
            "iqm_high",
            "mean",
            "deviation",
            "least",
            "most",
            "length",
            "score",
        ]
        values = dict(zip(names, self.cells()[1:], strict=True))
        lists = [[round(float(value), 6) for value in one.returns] for one in self.runs]
        return {"policy": self.name, **values, "returns": lists}


def scoreboard(
    spec: EnvironmentSpec,
    actors: Mapping[str, Actor],
    *,
    episodes: int,
    seed: int = SEEDS,
    progress: Callable[[float, str], None] | None = None,
) -> list[Line]:
    """Play all policies, random actions and the expert on the same seeds.

    Args:
        spec: the environment.
        actors: policies by name.
        episodes: of each.
        seed: of the first episode.
        progress: told the fraction done.
    """
    probe = make(spec)
    beside: dict[str, Actor] = {"random": RandomActor(probe.action_space)}
    probe.close()
    scripted = expert(spec.id, spec.options)
    if scripted is not None:
        beside["expert (scripted)"] = scripted
    played: dict[str, Episodes] = {}
    everyone = {**actors, **beside}
    for place, (name, actor) in enumerate(everyone.items()):
        if progress is not None:
            progress(place / len(everyone), f"playing {name}")
        played[name] = play(actor, spec, episodes=episodes, seed=seed)
    lines = [Line(name=name, runs=(result,), model=name in actors) for name, result in played.items()]
    return _scored(lines)


def pooled(lines: Sequence[Line], name: str) -> Line:
    """All models of a scoreboard as one line: interquartile mean and interval over runs and episodes."""
    runs = tuple(one for line in lines if line.model for one in line.runs)
    return Line(name=name, runs=runs)


def rescored(lines: Sequence[Line]) -> list[Line]:
    """The lines with their normalised scores."""
    return _scored(lines)


def verdict(lines: Sequence[Line]) -> list[str]:
    """How each model stands to random actions and to the expert, in words."""
    if not lines:
        return []
    beside = {line.name: line for line in lines if not line.model}
    random = beside["random"]
    text = []
    for line in lines:
        if not line.model:
            continue
        low, high = bootstrap_interval([one.returns for one in line.runs])
        random_low, random_high = bootstrap_interval([one.returns for one in random.runs])
        if low > random_high:
            word = "better than random actions"
        elif high < random_low:
            word = "worse than random actions"
        else:
            word = "not clearly different from random actions"
        score = "" if line.score is None else f", {line.score:.0f} % of the way from random to the expert"
        text.append(f"{line.name}: IQM return {line.iqm:.2f} [{low:.2f}, {high:.2f}], {word}{score}")
    return text


def _scored(lines: Sequence[Line]) -> list[Line]:
    beside = {line.name: line.iqm for line in lines if not line.model}
    best = beside.get("expert (scripted)")
    worst = beside["random"]
    if best is None or best <= worst:
        return list(lines)
    return [
        Line(
            name=line.name,
            runs=line.runs,
            model=line.model,
            score=100 * (line.iqm - worst) / (best - worst),
        )
        for line in lines
    ]
