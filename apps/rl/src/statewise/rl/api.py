"""What the `rl` command does, as functions.

from statewise.rl.api import FitSettings, fit_run, evaluate_runs

outcome = fit_run(FitSettings(what="CartPole-v1"), out="runs/cartpole")
lines = evaluate_runs(["runs/cartpole"], episodes=20)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from statewise.core.config import to_dict
from statewise.core.errors import ConfigError
from statewise.core.train import Run
from statewise.core.train.device import threads
from statewise.core.train.settings import keep_settings, kept_settings, require_same_data
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.fitted import Fitted
from statewise.rl.fitting import check, fingerprint_of, fit_model
from statewise.rl.interface import Interface
from statewise.rl.saved import Policy, load_policy
from statewise.rl.scoreboard import Line, pooled, rescored, scoreboard
from statewise.rl.settings import FitSettings

__all__ = ["FitSettings", "Outcome", "evaluate_runs", "fit_run", "load_policy", "record_run", "resume_run"]

Say = Callable[[str], None]
Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a fit."""

    run: Run
    settings: FitSettings
    fitted: Fitted
    policy: Policy
    lines: list[Line]
    """The policy beside random actions and the expert; empty where there is no environment to play."""


def fit_run(
    settings: FitSettings,
    *,
    out: str | Path | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Train, write a run directory and judge the result in fresh episodes.

    Args:
        settings: what is asked for.
        out: the run directory; None for `runs/<data>-<model>`.
        say: told what is assumed, line by line.
        progress: told the fraction done and a few words.

    Raises:
        UserError: the environment or the data are of no use, or the settings do not fit.
        Interrupted: the user stopped it; checkpoint and best weights so far are kept.
    """
    fingerprint = check(settings)
    run = Run.create(out, default=settings.name)
    if run.notice and say is not None:
        say(run.notice)
    keep_settings(run, settings, fingerprint=fingerprint)
    run.write_text("config.toml", tomli_w.dumps(settings.flags()))
    return _fit(settings, run, say, progress)


def resume_run(path: str | Path, *, say: Say | None = None, progress: Progress | None = None) -> Outcome:
    """Finish a run that was cut off, with the settings it began with.

    Raises:
        CheckpointError: there is no such run, or its data are other ones now.
    """
    run = Run.open(path)
    settings, kept = kept_settings(run, FitSettings)
    require_same_data(run, kept, fingerprint_of(settings), [settings.what])
    return _fit(settings, run, say, progress)


def evaluate_runs(
    runs: Sequence[str | Path],
    *,
    episodes: int = 20,
    env: str | None = None,
    env_options: dict[str, Any] | None = None,
    drawn: bool = False,
    target: float | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[Line], EnvironmentSpec]:
    """Play saved policies in fresh episodes, beside random actions and the expert.

    Args:
        runs: run or model directories of one environment.
        episodes: of each policy.
        env: another environment than that of the first run.
        env_options: options of the environment that differ from those of the first run.
        drawn: draw actions instead of taking the likeliest.
        target: return to ask for, of models that can be asked.
        seed: of the first episode.
        progress: told the fraction done.

    Returns:
        The lines, and the environment.
    """
    policies = [load_policy(path) for path in runs]
    first = policies[0].spec
    spec = EnvironmentSpec(
        id=env or first.id, options={**(first.options if env is None else {}), **(env_options or {})}
    )
    probe = make(spec)
    interface = Interface.of(probe)
    probe.close()
    actors = {}
    for path, policy in zip(runs, policies, strict=True):
        policy.interface.require_same(interface, model=str(path), environment=spec.label)
        actors[f"{policy.model} ({path})"] = policy.actor(greedy=not drawn, target=target)
    more = {} if seed is None else {"seed": seed}
    with threads(None, parameters=0):
        lines = scoreboard(spec, actors, episodes=episodes, progress=progress, **more)
    if len(runs) > 1:
        lines = rescored([*lines, pooled(lines, f"all {len(runs)} runs")])
    return lines, spec


def record_run(
    run: str,
    *,
    out: Path | None = None,
    env: str | None = None,
    env_options: dict[str, Any] | None = None,
    seed: int | None = None,
    limit: int = 1000,
) -> tuple[Path, int, float]:
    """Film one episode.

    Args:
        run: a run directory, or random or expert where `env` is named.
        out: .gif or .mp4; None for `episode.gif` in the run or here.
        env: another environment than that of the run.
        env_options: its options.
        seed: of the episode.
        limit: steps after which the film ends.

    Returns:
        The file, the number of pictures, the return.
    """
    from statewise.rl.collect import policy_of
    from statewise.rl.record import film, write_film

    named = run in ("random", "expert")
    if named and env is None:
        raise ConfigError("needs an environment", where=f"rl record {run}", fix="name one with --env")
    saved = None if named else load_policy(run)
    base = EnvironmentSpec(id=env) if env is not None or saved is None else saved.spec  # pyright: ignore[reportArgumentType]
    spec = EnvironmentSpec(id=base.id, options={**base.options, **(env_options or {})})
    probe = make(spec)
    actor = policy_of(run, spec, Interface.of(probe), probe.action_space)
    probe.close()
    frames, total, rate = film(actor, spec, limit=limit, **({} if seed is None else {"seed": seed}))
    path = out or (Path("episode.gif") if named else Path(run) / "episode.gif")
    return write_film(path, frames, rate), len(frames), total


def _fit(settings: FitSettings, run: Run, say: Say | None, progress: Progress | None) -> Outcome:
    from statewise.rl.report import write_report

    def part(fraction: float, words: str) -> None:
        if progress is not None:
            progress(0.97 * fraction, words)

    fitted = fit_model(settings, run, say, part)
    policy = load_policy(run.path)
    lines: list[Line] = []
    if fitted.playable:
        with threads(settings.threads, parameters=0):
            actors = {policy.model: policy.actor(greedy=True, target=settings.target)}
            if policy.family != "sequence":
                actors[f"{policy.model}, drawn"] = policy.actor(greedy=False)
            lines = scoreboard(policy.spec, actors, episodes=settings.episodes)
    run.write_json("env.json", to_dict(policy.spec))
    outcome = Outcome(run=run, settings=settings, fitted=fitted, policy=policy, lines=lines)
    run.write_json(
        "evaluation.json", {"environment": to_dict(policy.spec), "policies": [x.as_dict() for x in lines]}
    )
    write_report(outcome)
    return outcome
