"""From a data file to a saved sequence policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from statewise.core.config import config_class, from_dict, require
from statewise.core.errors import ConfigError, DataError, Interrupted, suggestion
from statewise.core.train import FitConfig, Run, fit, seeded
from statewise.core.train.device import derive_seed
from statewise.core.train.result import Tick
from statewise.rl.data.trajectories import Trajectories, read
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.fitted import Fitted
from statewise.rl.interface import Interface
from statewise.rl.models.sequence import SequencePolicy
from statewise.rl.offline.task import Sequences, SequenceTask
from statewise.rl.saved import save_policy
from statewise.rl.settings import FitSettings
from statewise.rl.starting import start_from

__all__ = ["OfflineConfig", "fit_offline", "split"]

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class OfflineConfig:
    """How a sequence policy is trained; its own settings are beside it."""

    steps: int = 2000
    """Steps of the optimiser."""
    batch_size: int = 64
    """Windows per step, or episodes for models that read whole ones (an eighth of it)."""
    learning_rate: float = 1e-3
    """Rate of AdamW after the warm-up; it falls along a cosine."""
    slow_rate: float = 0.5
    """Rate of state-space parameters as a fraction of it."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    warmup: int = 100
    """Steps over which the rate rises."""
    clip: float = 0.25
    """Largest norm of the gradient."""
    validation: float = 0.1
    """Part of the episodes that is held out to be looked at."""
    choose: Literal["last", "validation"] = "last"
    """Which weights are kept: the last ones, or those of the least loss on what is held out."""
    best: float = 1.0
    """Part of the episodes that is learnt from, those of the highest returns."""
    delayed: bool = False
    """Give all reward of an episode in its last step."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")
        require(0 < self.best <= 1, "best", self.best, "more than 0, at most 1")
        require(0 <= self.validation < 1, "validation", self.validation, "at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class _Job:
    """Everything of a training but its outcome."""

    name: str
    training: OfflineConfig
    data: Trajectories
    spec: EnvironmentSpec | None
    playable: bool
    target: float
    network: SequencePolicy
    task: SequenceTask

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())


def fit_offline(
    name: str,
    model: type[SequencePolicy],
    values: dict[str, Any],
    settings: FitSettings,
    run: Run,
    say: Say | None,
    progress: Callable[[float, str], None],
) -> Fitted:
    """Read, train, save.

    Args:
        name: of the model.
        model: its class.
        values: settings by name, of the training and of the network together.
        settings: what was asked for.
        run: where to.
        say: told what is assumed.
        progress: told the fraction done.
    """
    job = _assembled(name, model, values, settings)
    notes = _notes(job, settings)
    if say is not None:
        say(f"{name} from {settings.what}: {'; '.join(job.data.notes)}; {job.parameters:,} parameters")
        for note in notes:
            say(note)

    def tell(tick: Tick) -> None:
        progress(tick.fraction, f"step {tick.step:,}, loss {tick.loss:.4f}")

    config = _fit_config(job.training, job.task, job.network, settings)
    try:
        result = fit(job.task, config, run, progress=tell)
    except Interrupted:
        _save(job, settings, run)
        raise
    _save(job, settings, run)
    return Fitted(
        model=name,
        rows=[dict(row) for row in result.history],
        stopped_by=result.stopped_by,
        seconds=result.seconds,
        parameters=job.parameters,
        steps=result.steps,
        playable=job.playable,
        notes=[note for note in notes if note.startswith("no environment")],
    )


def _assembled(name: str, model: type[SequencePolicy], values: dict[str, Any], settings: FitSettings) -> _Job:
    """Data, network and task of a training.

    Raises:
        DataError: the data cannot be read, or do not fit the environment.
        ConfigError: a setting is unknown or out of its bounds.
    """
    training, own = _sorted_out(name, model, values)
    data = _prepared(read(settings.what), training, settings)
    spec, playable = _environment(data, settings)
    data = dataclasses.replace(data, interface=_interface(data, spec, playable=playable))
    network = _network(name, model, own, data, settings.seed)
    start_from(settings.init, network, name)
    train, held_out = split(len(data.episodes), training.validation, settings.seed)
    choose = training.choose == "validation"
    return _Job(
        name=name,
        training=training,
        data=data,
        spec=spec,
        playable=playable,
        target=settings.target if settings.target is not None else float(data.returns.max()),
        network=network,
        task=SequenceTask(network, Sequences(data), train, held_out, choose=choose),
    )


def _save(job: _Job, settings: FitSettings, run: Run) -> None:
    returns = job.data.returns
    job.network.cpu().eval()
    save_policy(
        run.path / "model",
        job.network,
        model=job.name,
        family="sequence",
        spec=job.spec or EnvironmentSpec(id="unknown"),
        interface=job.data.interface,
        facts={
            "target": job.target,
            "delayed": job.training.delayed,
            "columns": list(settings.columns),
            "data_returns": [float(returns.min()), float(returns.mean()), float(returns.max())],
        },
    )


def split(count: int, part: float, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the episodes to train on and of those held out; at least one to train on."""
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(count)
    held = min(count - 1, round(part * count))
    return sorted(order[held:].tolist()), sorted(order[:held].tolist())


def _sorted_out(name: str, model: type, values: dict[str, Any]) -> tuple[OfflineConfig, dict[str, Any]]:
    """The settings of the training, and those of the network."""
    fields = {one.name for one in dataclasses.fields(OfflineConfig)}
    training = from_dict(
        OfflineConfig, {key: value for key, value in values.items() if key in fields}, where=f"model {name}"
    )
    own = {key: value for key, value in values.items() if key not in fields}
    given = {"observation", "outputs", "discrete", "scale"} & own.keys()
    if given:
        raise ConfigError(f"'{min(given)}' follows from the data", where=f"model {name}", fix="leave it out")
    known = [*fields, *(one.name for one in dataclasses.fields(config_class(model)))]
    for key in own:
        if key not in known:
            raise ConfigError(
                f"unknown setting '{key}'",
                where=f"model {name}",
                expected=f"one of {', '.join(sorted(known))}",
                fix=suggestion(key, known),
            )
    return training, own


def _prepared(data: Trajectories, training: OfflineConfig, settings: FitSettings) -> Trajectories:
    if data.interface.is_image:
        raise DataError(
            "holds images, which sequence policies do not read",
            where=data.source,
            seen=str(data.interface.observation),
            expected="vectors",
            fix="learn in the environment itself: rl fit ENV",
        )
    if settings.columns:
        data = data.columns(settings.columns)
    if training.best < 1:
        data = data.best(training.best)
    if training.delayed:
        data = dataclasses.replace(data, episodes=tuple(one.delayed() for one in data.episodes))
    return data


def _environment(data: Trajectories, settings: FitSettings) -> tuple[EnvironmentSpec | None, bool]:
    if settings.env is not None:
        return EnvironmentSpec(id=settings.env, options=settings.env_options), True
    if settings.columns:  # the environment that the data name observes more
        return None, False
    return data.spec, data.spec is not None


def _interface(data: Trajectories, spec: EnvironmentSpec | None, *, playable: bool) -> Interface:
    """That of the environment where there is one: it knows bounds and classes that the data may not show.

    Raises:
        DataError: the data do not fit the environment.
    """
    if spec is None or not playable:
        return data.interface
    env = make(spec)
    found = Interface.of(env)
    env.close()
    mine = data.interface
    fits = found.observation == mine.observation and found.discrete == mine.discrete
    fits = fits and (mine.classes <= found.classes if found.discrete else len(mine.low) == len(found.low))
    if not fits:
        raise DataError(
            f"does not fit the environment '{spec.label}'",
            where=data.source,
            seen=mine.words(),
            expected=found.words(),
            fix="name another one with --env, or choose elements of the observation with --columns 0,2",
        )
    return found


def _network(
    name: str, model: type[SequencePolicy], own: dict[str, Any], data: Trajectories, seed: int
) -> SequencePolicy:
    interface = data.interface
    every = np.concatenate([interface.flat(one.observations[: one.steps]) for one in data.episodes])
    given = {
        "observation": interface.size,
        "outputs": interface.action_width,
        "discrete": interface.discrete,
        "scale": max(1e-6, float(np.abs(data.returns).max())),
    }
    if "longest" in {one.name for one in dataclasses.fields(config_class(model))} and "longest" not in own:
        given["longest"] = max(1000, max(one.steps for one in data.episodes))
    config = from_dict(config_class(model), {**own, **given}, where=f"model {name}")
    with seeded(derive_seed(seed, "weights")):
        network = model(config)
    network.mean.copy_(torch.from_numpy(every.mean(0)))
    network.deviation.copy_(torch.from_numpy(np.maximum(every.std(0), 1e-3)))
    return network


def _fit_config(
    training: OfflineConfig, task: SequenceTask, network: SequencePolicy, settings: FitSettings
) -> FitConfig:
    batch = max(1, training.batch_size // 8) if network.whole else training.batch_size
    return FitConfig(
        epochs=None,
        steps=training.steps,
        budget=settings.budget,
        batch_size=min(batch, task.size),
        learning_rate=training.learning_rate,
        slow_rate=training.slow_rate,
        weight_decay=training.weight_decay,
        warmup_steps=min(training.warmup, training.steps // 2),
        clip=training.clip,
        eval_every=max(1, training.steps // 20),
        save_every=settings.save_every,
        seed=settings.seed,
        device=settings.device,
        threads=settings.threads,
    )


def _notes(job: _Job, settings: FitSettings) -> list[str]:
    """What was assumed, in words."""
    returns = job.data.returns
    notes = [f"returns in the data: {returns.min():.1f} to {returns.max():.1f}"]
    if job.network.wants_return:
        asked = "asked for" if settings.target is not None else "asked for (the best of the data)"
        notes[0] += f"; {asked}: {job.target:.1f}, override with --target"
    if job.spec is None:
        notes.append(
            "no environment is known to judge the policy in: name one with --env. "
            "A small loss on recorded actions does not mean that it acts well"
        )
    return notes
