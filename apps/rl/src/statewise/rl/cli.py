"""The `rl` command. The bodies import what they need: `--help` must not wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from statewise.core.cli.app import App
from statewise.core.cli.console import Console
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
    save_every: Annotated[float, Parameter(validator=at_least(0))] = 20.0,
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
        save_every: Least number of seconds between two checkpoints.
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
                env_options=options_from(env_set, "--env-set"),
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
                save_every=save_every,
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
            env_options=options_from(env_set, "--env-set"),
            drawn=drawn,
            target=target,
            seed=seed,
            progress=bar.update,
        )
    tell_evaluation(lines, spec, console)


@app.command
def collect(
    env: str,
    /,
    *,
    out: Annotated[
        Path | None, Parameter(help="Directory of the set; by default data/ENV-POLICY-v0.")
    ] = None,
    policy: str = "random",
    episodes: Count = 50,
    noise: float = 0.0,
    clean_labels: Annotated[bool, Parameter(negative=())] = False,
    env_set: Annotated[Pairs, Parameter(name="--env-set")] = (),
    autoreset: Literal["disabled", "next-step", "same-step"] = "disabled",
    author: str = "",
    seed: Seed = 0,
    console: Terminal,
) -> None:
    """Record episodes into a data set that `rl fit` and Minari read.

    Example: rl collect CartPole-v1 --policy expert --noise 0.1

    Example: rl collect CartPole-v1 --policy runs/CartPole-v1-s5-ppo

    Args:
        env: The environment.
        policy: random, expert (a scripted controller), or a run directory.
        episodes: Episodes to record.
        noise: Probability per step that a random action takes over for two to six steps.
        clean_labels: Record the undisturbed action of each step, although the disturbed one was taken.
        env_set: NAME=VALUE for the environment; may be repeated.
        autoreset: How the vector environment goes on after an episode; the recording is the same in all.
        author: For the metadata.
        seed: Seed of the environments and of everything drawn.
    """
    from statewise.rl.collect import collect as record_set
    from statewise.rl.environments.make import EnvironmentSpec, options_from

    spec = EnvironmentSpec(id=env, options=options_from(env_set, "--env-set"))
    name = f"{env.replace('/', '-').replace(':', '-').lower()}-{Path(policy).name}-v0"
    with console.progress("Recording") as bar:
        done = record_set(
            spec,
            out=Path("data") / name if out is None else out,
            policy=policy,
            episodes=episodes,
            noise=noise,
            clean=clean_labels,
            seed=seed,
            autoreset=autoreset,
            author=author,
            progress=bar.update,
        )
    mean, deviation = float(done.returns.mean()), float(done.returns.std())
    console.say(
        f"{done.path}: {done.episodes} episodes, {done.steps:,} steps, return {mean:.2f} ± {deviation:.2f}"
    )
    console.say(f"rl fit {done.path}")
    console.result(
        {
            "path": str(done.path),
            "episodes": done.episodes,
            "steps": done.steps,
            "return_mean": mean,
            "return_deviation": deviation,
        }
    )


@app.command
def record(
    run: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(help=".gif or .mp4; by default episode.gif in the run.")] = None,
    env: str | None = None,
    env_set: Annotated[Pairs, Parameter(name="--env-set")] = (),
    seed: Annotated[int | None, Parameter(validator=at_least(0))] = None,
    limit: Count = 1000,
    console: Terminal,
) -> None:
    """Film an episode: of a run, or of `random` or `expert` in an environment.

    Example: rl record runs/catch-s5-ppo

    Example: rl record expert --env catch --out catch.gif

    Args:
        run: Run directory, or random or expert with --env.
        env: Another environment of the same spaces.
        env_set: NAME=VALUE for the environment; may be repeated.
        seed: Seed of the episode.
        limit: Steps after which the film ends.
    """
    from statewise.rl.api import record_run
    from statewise.rl.environments.make import options_from

    with console.progress("Filming"):
        path, frames, total = record_run(
            run, out=out, env=env, env_options=options_from(env_set, "--env-set"), seed=seed, limit=limit
        )
    console.say(f"{path}: {frames} pictures, return {total:.2f}")
    console.result({"path": str(path), "frames": frames, "return": total})


@app.command
def data(name: str | None = None, path: Path | None = None, /, *, console: Terminal) -> None:
    """List the named sets, describe a file of recorded episodes, or check a local copy of a named set.

    Read are .npz files with the arrays obs, act, rew, term, trunc and ep, and HDF5 files in the layout of
    Minari, by the file or by the directory of the set.

    Example: rl data data/cartpole-v1-expert-v0

    Example: rl data pendulum-medium ~/sets/pendulum-medium.npz

    Args:
        name: A file to describe, or the name of a set.
        path: A local file to compare with the sha256 of that set.
    """
    from statewise.core.cli.catalogue import list_datasets
    from statewise.rl.datasets import DATASETS

    file = name is not None and (Path(name).exists() or Path(name).name != name or "." in name)
    if name is None or path is not None or not file:
        list_datasets(DATASETS, console, name, path)
    else:
        _describe(Path(name), console)


def _describe(path: Path, console: Console) -> None:
    """The table of a data file."""
    from statewise.rl.data.trajectories import read

    found = read(path)
    returns = found.returns
    ended = sum(one.terminated for one in found.episodes)
    facts = {
        "file": found.source,
        "environment": found.spec.label if found.spec else None,
        "episodes": len(found.episodes),
        "steps": found.steps,
        "terminated": ended,
        "cut off": len(found.episodes) - ended,
        "final observations": sum(one.has_final for one in found.episodes),
        "return, least": round(float(returns.min()), 3),
        "return, mean": round(float(returns.mean()), 3),
        "return, most": round(float(returns.max()), 3),
        "spaces": found.interface.words(),
    }
    console.table(
        ["", "value"], [[name, value if value is None else str(value)] for name, value in facts.items()]
    )
    console.result(facts)


@app.command
def export(
    source: Path,
    out: Annotated[Path | None, Parameter(show_default=False)] = None,
    /,
    *,
    format: Literal["onnx", "pt2", "minari"] = "onnx",
    batch_size: Count = 1,
    console: Terminal,
) -> None:
    """Write a policy's step for other runtimes: observation and state in, action and next state out.

    With --format minari it writes recorded episodes instead: those of a data file, or the experience that a
    run of drama has kept.

    Example: rl export runs/CartPole-v1-s5-ppo policy.onnx

    Example: rl export cartpole-medium.npz --format minari

    Args:
        source: Run directory; for minari a data file too.
        out: File to write; by default policy.onnx or policy.pt2 in the run, a description beside it. For
            minari the directory of the set, by default data/NAME-v0.
        format: onnx, pt2 for torch.export.load, or minari for episodes.
        batch_size: How many environments it steps side by side.
    """
    if format == "minari":
        _export_episodes(source, out or Path("data") / f"{source.stem or 'set'}-v0", console)
        return
    from statewise.rl.exporting import export_policy
    from statewise.rl.saved import load_policy

    path = source / f"policy.{format}" if out is None else out
    exported = export_policy(load_policy(source), path, batch_size=batch_size, format=format)
    console.say(
        f"{path}: x {list(exported.x)}, {len(exported.state)} tensors of state; "
        f"{path.with_suffix('.json')} says what they are"
    )
    state = [port.input for port in exported.state]
    console.result({"path": str(path), "x": list(exported.x), "state": state})


def _export_episodes(source: Path, out: Path, console: Console) -> None:
    """Episodes for Minari."""
    from dataclasses import asdict

    from statewise.rl.data.to_minari import to_minari

    done = to_minari(source, out)
    console.say(f"{done.path}: {done.episodes} episodes, {done.steps:,} steps")
    if done.repeated:
        console.say(
            f"{done.repeated} episodes do not have the observation after their last action: "
            "the one before stands in for it"
        )
    console.result(asdict(done) | {"path": str(done.path)})


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
