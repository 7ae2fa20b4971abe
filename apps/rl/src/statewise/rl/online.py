"""The outer loop of everything that learns in an environment: advance, look, save, until something ends it.

A learner owns its environments, its network and its optimisers, and says how far it has come in environment
steps. Its `state` at the boundary between two calls of `advance` is all that there is, so that a run that was
killed goes on bit for bit as it would have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from statewise.core.errors import Interrupted
from statewise.core.train.interrupt import watch_signals
from statewise.core.train.run import Run
from statewise.core.train.tensors import load_into
from statewise.rl.acting import Actor
from statewise.rl.environments.make import EnvironmentSpec
from statewise.rl.evaluation import VALIDATION_SEEDS, play
from statewise.rl.interface import Interface
from statewise.rl.progress_file import read_progress, write_progress
from statewise.rl.statistics import iqm

__all__ = ["LearnResult", "Learner", "Plan", "learn"]

Row: TypeAlias = dict[str, Any]
StopReason: TypeAlias = Literal["steps", "budget", "until", "interrupt"]


class Learner(Protocol):
    """Something that learns in an environment."""

    spec: EnvironmentSpec
    interface: Interface
    steps: int

    @property
    def total(self) -> int:
        """Environment steps of the whole run."""
        ...

    @property
    def network(self) -> nn.Module:
        """What a run saves."""
        ...

    def advance(self) -> dict[str, float | None]:
        """Collect and learn a little; what is worth logging."""
        ...

    def actor(self, *, greedy: bool) -> Actor:
        """The policy as it is now."""
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything, in tensors and plain values."""
        ...

    def restore(self, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
        """Become what `state` was taken from."""
        ...

    def close(self) -> None:
        """Close the environments."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """When to look, to save and to stop."""

    evaluate_every: int
    """Environment steps between evaluations."""
    episodes: int = 10
    """Episodes of an evaluation that chooses the weights."""
    limit: int | None = None
    """Steps after which such an episode is cut off."""
    until: float | None = None
    """Interquartile mean of the return at which the run ends."""
    budget: float | None = None
    """Seconds of wall time of the whole run."""
    save_every: float = 20.0
    """Least number of seconds between two checkpoints."""


@dataclass(frozen=True, kw_only=True)
class LearnResult:
    """The outcome; the best weights are in the learner's network."""

    rows: list[Row]
    """What was logged, one row per call of `advance`."""
    best: Row
    """The row of the weights that were kept."""
    stopped_by: StopReason
    """What ended the run."""
    seconds: float
    """Wall time of the whole run, resumed parts included."""


def learn(
    learner: Learner,
    run: Run | None,
    plan: Plan,
    *,
    progress: Callable[[float, str], None] | None = None,
) -> LearnResult:
    """Train to the end; a run that has a checkpoint goes on from it.

    Args:
        learner: fresh.
        run: takes log, checkpoints; None writes nothing.
        plan: when to look, save and stop.
        progress: told the fraction done and a few words.

    Raises:
        Interrupted: SIGINT or SIGTERM; a checkpoint is kept.
        CheckpointError: the run cannot be resumed.
    """
    with watch_signals() as interrupt:
        loop = _Loop(learner, run, plan)
        while (reason := loop.reason()) is None and not interrupt.requested:
            loop.turn()
            if progress is not None:
                progress(*loop.standing())
        loop.save()
        if reason is None:
            place = f"; continue with --resume {run.path}" if run is not None else ""
            raise Interrupted(f"stopped after {learner.steps} steps in the environment{place}")
    return loop.finish(reason)


class _Loop:
    """The living objects of a run."""

    def __init__(self, learner: Learner, run: Run | None, plan: Plan) -> None:
        self.learner, self.run, self.plan = learner, run, plan
        self.rows: list[Row] = []
        self.best: Row = {}
        self.weights: dict[str, Tensor] = {}
        self.looked = 0
        self._spent = 0.0
        self._resume()
        self._origin = time.monotonic() - self._spent
        self._saved = time.monotonic()

    def reason(self) -> StopReason | None:
        """What ends the run now, if anything does."""
        best = self.best.get("validation_return")
        if self.plan.until is not None and best is not None and best >= self.plan.until:
            return "until"
        if self.learner.steps >= self.learner.total:
            return "steps"
        if self.plan.budget is not None and self._seconds() >= self.plan.budget:
            return "budget"
        return None

    def turn(self) -> None:
        """Advance once, evaluate if it is time, log, save."""
        learner = self.learner
        row: Row = {"step": 0, "seconds": 0.0} | learner.advance()
        row["step"] = learner.steps
        last = learner.steps >= learner.total
        if learner.steps - self.looked >= self.plan.evaluate_every or last:
            self.looked = learner.steps
            row["validation_return"] = self._validation()
            if not self.best or row["validation_return"] >= self.best["validation_return"]:
                self.best = row
                state = learner.network.state_dict()
                self.weights = {name: value.detach().clone() for name, value in state.items()}
        row["seconds"] = round(self._seconds(), 3)
        self.rows.append(row)
        if self.run is not None:
            self.run.log(row)
        if time.monotonic() - self._saved >= self.plan.save_every:
            self.save()

    def save(self) -> None:
        """Write a checkpoint."""
        if self.run is not None and self.run.writes:
            tensors, note = self.learner.state()
            tensors = {f"learner/{name}": value for name, value in tensors.items()}
            tensors |= {f"best/{name}": value for name, value in self.weights.items()}
            position = {"rows": self.rows, "best": self.best, "looked": self.looked}
            write_progress(
                self.run.path, tensors, {"learner": note, "loop": position, "seconds": self._seconds()}
            )
        self._saved = time.monotonic()

    def standing(self) -> tuple[float, str]:
        """The fraction done, and a few words."""
        done = self.learner.steps / self.learner.total
        if self.plan.budget is not None:
            done = max(done, self._seconds() / self.plan.budget)
        row = self.rows[-1]
        words = f"{self.learner.steps:,} steps"
        if row.get("train_return") is not None:
            words += f", return {row['train_return']:.1f}"
        return done, words

    def finish(self, reason: StopReason) -> LearnResult:
        """Put the best weights into the network."""
        if self.weights:
            load_into(self.learner.network, self.weights, "the best weights")
        return LearnResult(rows=self.rows, best=self.best, stopped_by=reason, seconds=self._seconds())

    def _validation(self) -> float:
        training = self.learner.network.training
        self.learner.network.eval()
        with torch.random.fork_rng(devices=[]):
            episodes = play(
                self.learner.actor(greedy=True),
                self.learner.spec,
                episodes=self.plan.episodes,
                seed=VALIDATION_SEEDS,
                limit=self.plan.limit,
            )
        self.learner.network.train(training)
        return iqm(episodes.returns)

    def _resume(self) -> None:
        found = read_progress(self.run.path) if self.run is not None else None
        if found is None or self.run is None:
            return
        tensors, note = found
        own = {name.removeprefix("learner/"): t for name, t in tensors.items() if name.startswith("learner/")}
        self.weights = {n.removeprefix("best/"): t for n, t in tensors.items() if n.startswith("best/")}
        self.learner.restore(own, note["learner"])
        position = note["loop"]
        self.rows, self.best, self.looked = position["rows"], position["best"], position["looked"]
        self._spent = note["seconds"]
        self.run.set_metrics(self.rows)

    def _seconds(self) -> float:
        return time.monotonic() - self._origin
