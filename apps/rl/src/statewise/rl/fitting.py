"""From settings to a trained model in a run directory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import gymnasium

from statewise.core.config import config_class, from_dict
from statewise.core.errors import ConfigError, Interrupted
from statewise.core.registry import preset
from statewise.core.train import Run
from statewise.core.train.device import threads
from statewise.rl.environments import ENVIRONMENTS
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.fitted import Fitted
from statewise.rl.models import MODELS
from statewise.rl.online import Learner, Plan, learn
from statewise.rl.saved import load_policy, save_policy
from statewise.rl.settings import FitSettings
from statewise.rl.starting import start_from

__all__ = ["check", "chosen_model", "fingerprint_of", "fit_model"]

ONLINE, OFFLINE = "in an environment", "from data"
Say = Callable[[str], None]
Progress = Callable[[float, str], None]


def fingerprint_of(settings: FitSettings) -> str:
    """What identifies the data or the environment of a run."""
    if settings.from_data:
        from statewise.rl.data.trajectories import fingerprint

        return fingerprint(settings.what)
    label = EnvironmentSpec(id=settings.what, options=settings.env_options).label
    return hashlib.sha256(label.encode()).hexdigest()[:16]


def chosen_model(settings: FitSettings) -> tuple[str, Any, dict[str, Any]]:
    """The model's name, its class, and the settings of preset and command line by name.

    Raises:
        UnknownNameError: there is no such model or preset.
        ConfigError: the model does not learn from this.
    """
    name, chosen = MODELS.resolve(settings.model_name)
    entry = MODELS[name]
    expected = OFFLINE if settings.from_data else ONLINE
    if entry.facts.get("learns", expected) != expected:
        fits = [key for key, one in MODELS.entries().items() if one.facts.get("learns") == expected]
        raise ConfigError(
            f"'{name}' learns {entry.facts['learns']}",
            where="--model",
            seen=f"{settings.what}, to learn {expected}",
            expected=f"one of {', '.join(fits)}",
            fix="name a data file (rl collect makes one), or another model"
            if expected == ONLINE
            else "name an environment, or another model",
        )
    model = entry.load()
    values = {**entry.facts.get("settings", {}), **preset(getattr(model, "presets", {}), chosen, name)}
    if settings.steps is not None:
        values["steps"] = settings.steps
    return name, model, {**values, **settings.overrides}


def check(settings: FitSettings) -> str:
    """Refuse what cannot be fitted before a run directory is made; what identifies its data.

    Raises:
        UserError: the model, one of its settings, the environment or the data file is none.
    """
    name, model, values = chosen_model(settings)
    if not settings.from_data:
        from_dict(config_class(model), values, where=f"model {name}")
        if getattr(model, "needs_start", False) and settings.init is None:
            raise ConfigError(
                f"'{name}' goes on from a policy that was learnt from data",
                where="--init",
                expected="a run of ds4",
                fix="rl fit DATA --model ds4 --out RUN, then rl fit ENV --model ds4-online --init RUN",
            )
        make(EnvironmentSpec(id=settings.what, options=settings.env_options)).close()
    return fingerprint_of(settings)


def fit_model(settings: FitSettings, run: Run, say: Say | None, progress: Progress) -> Fitted:
    """Train what the settings ask for, and save it into the run."""
    name, model, values = chosen_model(settings)
    if settings.from_data:
        from statewise.rl.offline.fitting import fit_offline

        return fit_offline(name, model, values, settings, run, say, progress)
    config = from_dict(config_class(model), values, where=f"model {name}")
    return _fit_online(name, model, config, settings, run, say, progress)


def solved_at(spec: EnvironmentSpec) -> float | None:
    """The mean return at which an environment counts as solved, where its makers say."""
    if spec.id in ENVIRONMENTS:
        return ENVIRONMENTS[spec.id].facts.get("solved")
    known = gymnasium.registry.get(spec.id)
    return None if known is None else known.reward_threshold


def _fit_online(
    name: str, model: Any, config: Any, settings: FitSettings, run: Run, say: Say | None, progress: Progress
) -> Fitted:
    spec = EnvironmentSpec(id=settings.what, options=settings.env_options)
    make(spec).close()
    if settings.device not in ("auto", "cpu"):
        raise ConfigError(
            "learning in an environment runs on the CPU",
            where="--device",
            seen=settings.device,
            expected="cpu",
            fix="leave --device out; models learnt from data train on a GPU",
        )
    learner = _learner(name, model, config, spec, settings)
    parameters = sum(parameter.numel() for parameter in learner.network.parameters())
    plan = _plan(config, spec, settings)
    if say is not None:
        say(f"{name} in {spec.label}: {learner.interface.words()}; {parameters:,} parameters")
        ends = f"after {learner.total:,} steps"
        ends += "" if plan.until is None else f", or at a return of {plan.until:g}"
        say(f"training ends {ends}; override with --steps, --until and --budget")
    try:
        # one thread: rollouts are small steps, which a second thread slows down even for large networks
        with threads(settings.threads or 1, parameters=parameters):
            result = learn(learner, run, plan, progress=progress)
    except Interrupted:
        _save(name, learner, spec, run)
        raise
    finally:
        learner.close()
    _save(name, learner, spec, run)
    return Fitted(
        model=name,
        rows=result.rows,
        stopped_by=result.stopped_by,
        seconds=result.seconds,
        parameters=parameters,
        steps=learner.steps,
    )


def _learner(name: str, model: Any, config: Any, spec: EnvironmentSpec, settings: FitSettings) -> Learner:
    """A fresh learner, with the weights of an earlier run where one is named."""
    if getattr(model, "needs_start", False) and settings.init is not None:
        return model(config, spec, settings.seed, load_policy(settings.init))
    learner: Learner = model(config, spec, settings.seed)
    start_from(settings.init, learner.network, name)
    return learner


def _plan(config: Any, spec: EnvironmentSpec, settings: FitSettings) -> Plan:
    until = settings.until if settings.until is not None else solved_at(spec)
    return Plan(
        evaluate_every=config.evaluate_every,
        episodes=20 if until is not None else 10,
        until=until,
        budget=settings.budget,
        save_every=settings.save_every,
    )


def _save(name: str, learner: Learner, spec: EnvironmentSpec, run: Run) -> None:
    learner.network.eval()
    save_policy(
        run.path / "model",
        learner.network,
        model=name,
        family=getattr(learner, "family", "agent"),
        spec=spec,
        interface=learner.interface,
        facts=getattr(learner, "facts", {}),
    )
