"""The `rl` command. The bodies import what they need: `--help` must not wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from statewise.core.cli.app import App
from statewise.core.cli.options import Budget, Device, Out, Resume, Seed, Terminal, Threads, at_least
from statewise.rl import __version__

__all__ = ["app", "main"]

app = App(
    "rl",
    summary="World models, sequence policies and memory agents on recurrent state.",
    version=__version__,
    extras={
        "ale_py": "statewise-rl[atari]",
        "minatar": "statewise-rl[minatar]",
        "mujoco": "statewise-rl[mujoco]",
        "minari": "statewise-rl[minari]",
    },
)

Words = Annotated[list[str] | None, Parameter(show_default=False)]
Pairs = Annotated[
    tuple[str, ...], Parameter(show_default=False, negative_iterable=(), consume_multiple=False)
]
Count = Annotated[int, Parameter(validator=at_least(1))]


@app.command(alias="train")
def fit(
    what: Annotated[str | None, Parameter(show_default=False)] = None,
    /,
    *,
    model: str | None = None,
    env: str | None = None,
    env_set: Annotated[Pairs, Parameter(name="--env-set")] = (),
    set_: Annotated[Pairs, Parameter(name="--set")] = (),
    columns: Annotated[str | None, Parameter(show_default=False)] = None,
    steps: Annotated[int | None, Parameter(validator=at_least(1))] = None,
    until: float | None = None,
    target: float | None = None,
    init: Path | None = None,
    episodes: Count = 20,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    budget: Budget = None,
    resume: Resume = None,
    console: Terminal,
) -> None:
    """Learn in an environment, or from recorded episodes, and judge the result in fresh episodes.

    An environment trains `s5-ppo`: a policy whose memory is carried from step to step and reset inside the
    scan. Data train `ds4`. Training ends at the return that solves the environment, where its makers name
    one.

    Example: rl fit CartPole-v1
    Example: rl fit tmaze --env-set length=20 --model gru-ppo
    Example: rl fit pendulum-medium.npz --model dt

    Args:
        what: An environment (`rl envs`, any id of gymnasium, package:EnvId), or a data file (.npz, .hdf5).
        model: MODEL or MODEL-PRESET of `rl models`.
        env: Environment in which a model learnt from data is judged; by default the one the data name.
        env_set: NAME=VALUE for the environment, such as length=100; may be repeated.
        set_: NAME=VALUE for the model or its training, such as width=128; may be repeated.
        columns: Elements of recorded observations to use, such as 0,2; by default all.
        steps: Steps in the environment, or of the optimiser on data.
        until: Return at which training ends.
        target: Return to ask a sequence model for; by default the best of the data.
        init: Run whose weights training starts from.
        episodes: Episodes that judge the result.
        budget: Wall time of training.
        resume: Run directory to continue; its settings are taken over.
    """
    from statewise.rl.api import fit_run, resume_run
    from statewise.rl.environments.make import options_from
    from statewise.rl.narrate import tell_fit
    from statewise.rl.settings import FitSettings, columns_from

    with console.progress("Training") as bar:
        if resume is not None:
            outcome = resume_run(resume, say=console.say, progress=bar.update)
        else:
            settings = FitSettings(
                what=what or "",
                model=model,
                env=env,
                env_options=options_from(env_set),
                overrides=options_from(set_),
                columns=columns_from(columns),
                steps=steps,
                until=until,
                target=target,
                init=None if init is None else str(init),
                episodes=episodes,
                seed=seed,
                device=device,
                threads=threads,
                budget=budget,
            )
            outcome = fit_run(settings, out=out, say=console.say, progress=bar.update)
    tell_fit(outcome, console)


@app.command(alias="score")
def evaluate(
    runs: list[Path],
    /,
    *,
    episodes: Count = 20,
    env: str | None = None,
    env_set: Annotated[Pairs, Parameter(name="--env-set")] = (),
    drawn: Annotated[bool, Parameter(negative=())] = False,
    target: float | None = None,
    seed: Annotated[int | None, Parameter(validator=at_least(0))] = None,
    console: Terminal,
) -> None:
    """Play fresh episodes with one or several runs, beside random actions and a scripted expert.

    Several runs (of several seeds, say) are listed and pooled: interquartile mean and bootstrap interval.

    Example: rl evaluate runs/tmaze-s5-ppo --env-set length=200

    Args:
        runs: Run directories of one environment.
        episodes: Episodes of each run.
        env: Another environment of the same spaces.
        env_set: NAME=VALUE for the environment; may be repeated.
        drawn: Draw actions instead of taking the likeliest.
        target: Return to ask a sequence model for.
        seed: Seed of the first episode; the others follow.
    """
    from statewise.rl.api import evaluate_runs
    from statewise.rl.environments.make import options_from
    from statewise.rl.narrate import tell_evaluation

    with console.progress("Playing") as bar:
        lines, spec = evaluate_runs(
            runs,
            episodes=episodes,
            env=env,
            env_options=options_from(env_set),
            drawn=drawn,
            target=target,
            seed=seed,
            progress=bar.update,
        )
    tell_evaluation(lines, spec, console)


@app.command
def envs(name: str | None = None, /, *, console: Terminal) -> None:
    """List the environments that come with the app, or describe any environment by its id.

    Example: rl envs CartPole-v1

    Args:
        name: One to describe: its spaces, in the form that models see.
    """
    from statewise.rl.environments import ENVIRONMENTS

    if name is not None:
        from statewise.rl.environments.make import EnvironmentSpec, make
        from statewise.rl.interface import Interface

        env = make(EnvironmentSpec(id=name))
        interface = Interface.of(env)
        env.close()
        console.show(f"{name}: {interface.words()}")
        console.result({"name": name, "observation": interface.observation, "classes": interface.classes})
        return
    rows: list[list[Any]] = []
    for key, entry in ENVIRONMENTS.entries().items():
        options = ", ".join(entry.facts.get("options", ())) or "-"
        rows.append([key, options, entry.facts.get("needs memory", "-"), entry.summary])
    columns = ["name", "options", "needs memory", "summary"]
    console.table(columns, rows)
    console.say("any id of gymnasium works as well, and package:EnvId; ALE/ and MinAtar/ need their extras")
    console.result({"environments": [dict(zip(columns, row, strict=True)) for row in rows]})


@app.command
def models(*, console: Terminal) -> None:
    """List the models: what they learn from, their memory, source."""
    from statewise.core.cli.catalogue import list_models
    from statewise.rl.models import MODELS

    list_models(MODELS, console, facts=("learns", "memory"))


def main() -> int:
    """Run the command line and return its exit code."""
    return app.run()


if __name__ == "__main__":
    raise SystemExit(main())
