"""The supervised training loop of every app.

One class holds the living objects of a run; `run_to_end` is the whole story: step, evaluate, save, until
something ends it. The order of the examples, the learning rate and the random numbers of a step are
functions of its number, so the position of a run is that number, and a resumed run computes bit for bit
what the uninterrupted one would have.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Literal

import torch

from statewise.core.config import to_dict
from statewise.core.errors import DataError, Interrupted
from statewise.core.train.checkpoint import (
    Checkpoint,
    Position,
    read_checkpoint,
    refuse_changes,
    write_checkpoint,
)
from statewise.core.train.clock import Clock
from statewise.core.train.config import FitConfig
from statewise.core.train.device import reseed, seeded, threads, to_device
from statewise.core.train.engine import Engine, make_engine
from statewise.core.train.guard import check_metric, check_step
from statewise.core.train.interrupt import Interrupt, watch_signals
from statewise.core.train.optim import AdamW
from statewise.core.train.order import Order, micro_batches
from statewise.core.train.result import FitResult, Row, StopReason, Tick
from statewise.core.train.run import Run
from statewise.core.train.schedule import Schedule
from statewise.core.train.sinks import Sink, open_sink
from statewise.core.train.task import Task
from statewise.core.train.tensors import load_into

__all__ = ["fit"]

FIXED = (
    *("learning_rate", "slow_rate", "weight_decay", "betas", "clip", "precision", "seed"),
    *("schedule", "warmup_steps", "decay", "hold_epochs", "floor", "drop_last"),
)
"""Settings that a resumed run may not change; the others only say when to stop, to look and to save."""


def fit(
    task: Task,
    config: FitConfig,
    run: Run | None = None,
    *,
    progress: Callable[[Tick], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    deadline: float | None = None,
) -> FitResult:
    """Fit the model of `task`; in the end it holds the best weights.

    Args:
        task: the problem.
        config: the settings.
        run: takes the metrics, the checkpoints and the best weights; one with a checkpoint is resumed. None
            writes nothing.
        progress: called after each step.
        should_stop: asked before each step.
        deadline: `time.monotonic()` at which the last evaluation should be over.

    Raises:
        Diverged: a loss, a gradient or the monitored metric is not finite; the best weights are kept.
        Interrupted: SIGINT or SIGTERM; the best weights and a checkpoint are kept.
        CheckpointError: the run cannot be resumed with this task and these settings.
        DataError: there is no training example.
    """
    if task.size < 1:
        raise DataError("there is no training example", seen=f"{task.size} examples", expected="at least 1")
    engine = make_engine(config)
    parameters = sum(parameter.numel() for parameter in task.model.parameters())
    with (
        watch_signals() as interrupt,
        threads(config.threads, parameters=parameters),
        seeded(config.seed, engine.device),
    ):
        loop = _Loop(task, config, run, engine, interrupt)
        with open_sink(config.log, run, step=loop.evaluated_at()) as sink:
            return loop.run_to_end(sink, progress, should_stop, deadline)


class _Loop:
    """The living objects of a run."""

    def __init__(
        self, task: Task, config: FitConfig, run: Run | None, engine: Engine, interrupt: Interrupt
    ) -> None:
        self.task, self.config, self.run, self.engine, self.interrupt = task, config, run, engine, interrupt
        batch = config.batch_size * config.accumulate * engine.world
        self.order = Order(task.size, batch, config.seed, drop_last=config.drop_last)
        self.schedule = Schedule(config=config, steps_per_epoch=self.order.steps_per_epoch)
        self.weights = task.model.to(engine.device)
        self.optimizer = AdamW(self.weights, config)
        self.position = Position()
        self.best: dict[str, torch.Tensor] = {}
        self._resume()
        self.rate = self._rate(max(0, self.position.step - 1))
        self.model = engine.prepare(self.weights)
        self.clock = Clock(self.position.seconds)

    def run_to_end(
        self,
        sink: Sink,
        progress: Callable[[Tick], None] | None,
        should_stop: Callable[[], bool] | None,
        deadline: float | None,
    ) -> FitResult:
        """Step, evaluate and save until something ends the run; in any case the best weights are kept."""
        self.model.train()
        try:
            while (reason := self._reason_to_stop(should_stop, deadline)) is None:
                loss = self._step()
                if self._evaluation_is_due():
                    self._evaluate(sink)
                if self.clock.save_is_due(self.config.save_every):
                    self._save()
                if progress is not None:
                    progress(self._tick(loss))
            self._save()
            if reason == "interrupt":
                raise self._interrupted()
            if self.evaluated_at() != self.position.step:
                # after the checkpoint: a run that goes on would not have evaluated here
                self._evaluate(sink)
        finally:
            self._keep_best()
        return FitResult(
            best=self.position.best_row,
            history=self.position.history,
            stopped_by=reason,
            steps=self.position.step,
            epochs=self.order.epochs(self.position.step),
            seconds=self.clock.seconds(),
        )

    def _reason_to_stop(
        self, should_stop: Callable[[], bool] | None, deadline: float | None
    ) -> StopReason | Literal["interrupt"] | None:
        """What ends the run before the next step; all processes come to the same answer."""
        config, position = self.config, self.position
        late = deadline is not None and time.monotonic() + self.clock.evaluating >= deadline
        asked = should_stop is not None and should_stop()
        seconds = self.clock.seconds() if self.engine.rank == 0 else 0.0
        interrupted, asked, late, position.seconds = self.engine.total(
            [self.interrupt.requested, asked, late, seconds]
        )
        ends: list[tuple[StopReason | Literal["interrupt"], object]] = [
            ("interrupt", interrupted),
            ("patience", config.patience and position.waited >= config.patience),
            ("epochs", config.epochs and position.step >= config.epochs * self.order.steps_per_epoch),
            ("steps", config.steps and position.step >= config.steps),
            ("budget", config.budget and position.seconds + self.clock.evaluating >= config.budget),
            ("deadline", late),
            ("should_stop", asked),
        ]
        return next((reason for reason, reached in ends if reached), None)

    def _step(self) -> float:
        """One optimiser step; its training loss."""
        engine, position = self.engine, self.position
        self.rate = self._rate(position.step)
        reseed(engine.device, self.config.seed, "step", position.step, engine.rank)
        self.optimizer.clear()
        indices = self.order.indices(position.step)
        loss = self._gradients(indices)
        norm = torch.nn.utils.get_total_norm(self.optimizer.gradients())
        local, length = torch.stack([loss, norm.to(loss.dtype)]).tolist()
        (mean,) = engine.total([local])
        epoch = self.order.epochs(position.step)
        check_step(mean, length, model=self.weights, step=position.step, epoch=epoch, rate=self.rate)
        if self.config.clip is not None and length > self.config.clip:
            torch.nn.utils.clip_grads_with_norm_(self.optimizer.parameters, self.config.clip, norm)
        self.optimizer.step(self.rate)
        position.step += 1
        position.loss_sum += mean * len(indices)
        position.examples += len(indices)
        self.clock.count(len(indices))
        return mean

    def _gradients(self, indices: torch.Tensor) -> torch.Tensor:
        """Put the gradient of the mean loss over `indices` in the parameters; this process's part of it."""
        engine = self.engine
        parts = micro_batches(indices, rank=engine.rank, world=engine.world, size=self.config.batch_size)
        total = torch.zeros((), device=engine.device)
        for number, (part, weight) in enumerate(parts, start=1):
            batch = to_device(self.task.batch(part), engine.device)
            with engine.micro_batch(self.model, last=number == len(parts)):
                loss = self.task.loss(self.model, batch) * weight
                engine.backward(loss * engine.world)  # the exchange averages over processes
            total = total + loss.detach()
        return total

    def _rate(self, step: int) -> float:
        """Learning rate of ordinary parameters after `step` steps."""
        return self.config.learning_rate * self.schedule.factor(step, self.position.seconds)

    def _evaluation_is_due(self) -> bool:
        return self.position.step % (self.config.eval_every or self.order.steps_per_epoch) == 0

    def evaluated_at(self) -> float | None:
        """The step of the last evaluation; None before the first."""
        return self.position.history[-1]["step"] if self.position.history else None

    def _evaluate(self, sink: Sink) -> None:
        """Validate, log a row and keep the weights if they are the best."""
        position = self.position
        with self.clock.evaluation():
            row = self._row()
            metrics = self._validate()
        value = self._monitored(row | metrics)
        position.loss_sum, position.examples = 0.0, 0
        row |= {name: number if math.isfinite(number) else None for name, number in metrics.items()}
        position.history.append(row)
        position.waited += 1
        if position.best_value is None or value < position.best_value:
            position.best_value, position.best_row, position.waited = value, row, 0
            self.best = {
                name: t.detach().to("cpu", copy=True) for name, t in self.weights.state_dict().items()
            }
        if self.run is not None:
            self.run.log(row)
        sink.log(row)

    def _validate(self) -> dict[str, float]:
        """The task's metrics; the first process computes them for all."""
        metrics: dict[str, float] = {}
        if self.engine.rank == 0:
            self.weights.eval()
            with torch.no_grad():
                metrics = self.task.validate(self.weights)
            self.weights.train()
        return self.engine.share({name: float(value) for name, value in metrics.items()})

    def _row(self) -> Row:
        position = self.position
        return {
            "step": position.step,
            "epoch": self.order.epochs(position.step),
            "seconds": round(self.clock.seconds(), 3),
            "learning_rate": self.rate,
            "examples_per_second": round(self.clock.throughput(), 1),
            "train_loss": position.loss_sum / position.examples if position.examples else None,
        }

    def _monitored(self, metrics: Row) -> float:
        """The value of the metric that chooses the best weights."""
        name = self.task.monitor
        if name not in metrics:
            raise KeyError(f"the task monitors '{name}', but its metrics are {', '.join(metrics)}")
        value = metrics[name]
        value = math.inf if value is None else value  # train_loss before the first step
        check_metric(name, value, step=self.position.step, rate=self.rate)
        return value

    def _facts(self) -> dict[str, Any]:
        """What must not change while a run is interrupted."""
        settings = to_dict(self.config)
        sizes = {"training examples": self.order.size, "examples per step": self.order.batch}
        return sizes | {name: settings[name] for name in FIXED}

    def _resume(self) -> None:
        """Go on from the checkpoint of the run directory, if there is one."""
        if self.run is None:
            return
        found = self.engine.share(read_checkpoint(self.run.path) if self.engine.rank == 0 else None)
        if found is not None:
            where = str(self.run.path)
            refuse_changes(found.facts, self._facts(), where)
            load_into(self.weights, found.weights, where)
            self.optimizer.restore(found.moments)
            self.position, self.best = found.position, dict(found.best)
        self.run.set_metrics(self.position.history)

    def _save(self) -> None:
        """Write a checkpoint."""
        if self.run is None or self.engine.rank != 0:
            return
        self.position.seconds = self.clock.seconds()
        with self.clock.saving():
            write_checkpoint(
                self.run.path,
                Checkpoint(
                    position=self.position,
                    facts=self._facts(),
                    weights=self.weights.state_dict(),
                    best=self.best,
                    moments=self.optimizer.state(),
                ),
            )

    def _keep_best(self) -> None:
        """Load the best weights into the model and write them to the run directory."""
        if self.best:
            self.weights.load_state_dict(self.best)
        self.weights.eval()
        if self.run is not None:
            self.run.save_weights(self.weights)

    def _tick(self, loss: float) -> Tick:
        position, config = self.position, self.config
        by_time = position.seconds / config.budget if config.budget else 0.0
        return Tick(
            step=position.step,
            epoch=self.order.epochs(position.step),
            fraction=min(1.0, max(by_time, self.schedule.fraction(position.step, position.seconds))),
            loss=loss,
            learning_rate=self.rate,
            examples_per_second=self.clock.throughput(),
            best=position.best_value,
        )

    def _interrupted(self) -> Interrupted:
        message = f"stopped at step {self.position.step}"
        if self.run is not None:
            message += f"; the best weights and a checkpoint are kept: go on with --resume {self.run.path}"
        return Interrupted(message)
