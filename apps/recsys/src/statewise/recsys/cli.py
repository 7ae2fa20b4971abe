"""The `recsys` command. The bodies import what they need: `--help` must not wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from statewise.core.cli.app import App
from statewise.core.cli.options import Budget, Device, Epochs, Out, Resume, Seed, Terminal, Threads
from statewise.recsys import __version__
from statewise.recsys.options import ReadOptions
from statewise.recsys.settings import Tuning

__all__ = ["app", "main"]

app = App(
    "recsys",
    summary="Recommendations from an event log: trained, judged honestly, served as a stream.",
    version=__version__,
    extras={
        "fastapi": "statewise-recsys[serve]",
        "uvicorn": "statewise-recsys[serve]",
        "faiss": "statewise-recsys[ann]",
        "ray": "statewise-core[ray]",
    },
)

DATA = Group("Data", sort_key=5)
NETWORK = Group("Network", sort_key=6)
Reading = Annotated[ReadOptions | None, Parameter(name="*", group=DATA)]
Network = Annotated[Tuning | None, Parameter(name="*", group=NETWORK)]
Repeat = Literal["exclude", "allow", "only"]
Events = Annotated[list[str] | None, Parameter(show_default=False)]


@app.command(alias="train")
def fit(
    data: Events = None,
    /,
    *,
    model: str = "causal",
    blend: tuple[str, ...] = (),
    features: str | None = None,
    split: str = "leave-one-out",
    period: str = "month",
    periods: int = 3,
    repeat: Literal["auto", "exclude", "allow", "only"] = "auto",
    read: Reading = None,
    network: Network = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    epochs: Epochs = None,
    budget: Budget = None,
    resume: Resume = None,
    console: Terminal,
) -> None:
    """Fit a recommender on rows of user, item and time, and score it beside the baselines.

    Without any flag: columns are found by their names, ids are text, events of a user at the same time keep
    the order of the rows. The last event of each user is the test target, the one before it chooses the
    weights. The model is attention over the last 200 events with cross-entropy over all items (sampled above
    50,000), 60 epochs or until validation stops improving. Written are report.html, scores.json and the
    model.

    Example: recsys fit events.csv --model lru

    Args:
        data: CSV, TSV, parquet, `.inter` or `::` files, gzipped or not; `-`; a prepared directory.
        model: One of `recsys models`.
        blend: Counting method to mix into the network, weighted on validation; may be given several times.
        features: Table with a row for each item: its id, then categories and text.
        split: leave-one-out, temporal or next-period.
        period: day, week or month of next-period.
        periods: Periods of next-period that test, one after the other, with the history before each.
        repeat: Whether items of a user's history may be recommended; auto: where more than 10 % repeat.
        read: how to read the files.
        network: settings of a network that differ from its recipe.
        out: Run directory; by default runs/DATA-MODEL. No run is overwritten.
        seed: Seed of everything random.
        device: auto, cpu, cuda, cuda:1, mps.
        threads: CPU threads; few on small work.
        epochs: Passes over the data; there is then no early stop.
        budget: Wall time of training: 60, 60s, 10m, 1h30m.
        resume: Run directory to continue; its settings are taken over.
    """
    from statewise.recsys.api import fit_run, resume_run
    from statewise.recsys.narrate import tell_fit
    from statewise.recsys.settings import FitSettings

    with console.progress("Fitting") as bar:
        if resume is not None:
            outcome = resume_run(resume, data=data, say=console.say, progress=bar.update)
        else:
            settings = FitSettings(
                data=tuple(data or ()),
                model=model,
                blend=blend,
                features=features,
                split=split,
                period=period,
                periods=periods,
                repeat=repeat,
                read=read or ReadOptions(),
                tuning=network or Tuning(),
                seed=seed,
                device=device,
                threads=threads,
                epochs=epochs,
                budget=budget,
            )
            outcome = fit_run(settings, out=out, say=console.say, progress=bar.update)
    tell_fit(outcome, console)


@app.command
def prepare(data: Path, /, *, out: Path, read: Reading = None, console: Terminal) -> None:
    """Turn a file of events that is larger than memory into a directory of memory maps, for `recsys fit DIR`.

    Example: recsys prepare events.parquet --out events-prepared

    Args:
        data: Parquet, or delimited text in UTF-8.
        out: Directory to make.
        read: how to read the file.
    """
    from statewise.recsys.prepare import prepare as stream

    with console.progress("Preparing") as bar:
        log = stream(data, out, read, progress=bar.update)
    facts = {"events": len(log), "users": log.n_users, "items": log.n_items, "fingerprint": log.fingerprint}
    console.show(", ".join(f"{value:,} {name}" for name, value in list(facts.items())[:3]) + f": {out}")
    console.result({"folder": str(out)} | facts)


@app.command(alias="recommend")
def predict(
    run: Path,
    users: Annotated[list[str] | None, Parameter(show_default=False)] = None,
    /,
    *,
    k: Annotated[int, Parameter(alias="-k")] = 10,
    history: str | None = None,
    allow: str | None = None,
    deny: str | None = None,
    repeat: Repeat | None = None,
    reasons: bool = False,
    workers: int | None = None,
    out: Annotated[
        Path | None, Parameter(help="CSV or parquet file; by default the table is printed.")
    ] = None,
    read: Reading = None,
    console: Terminal,
) -> None:
    """Recommend items with a model that `fit` has made: to some users, to all, or from a file of events.

    Example: recsys recommend runs/events-causal alice bob --k 5 --reasons

    Args:
        run: Run directory.
        users: Ids of users of the fitted data; none: all of them.
        k: Items for each user.
        history: File of events of any users, known or new; recommendations start from these.
        allow: File with the only items that may be recommended.
        deny: File with items that may not be recommended.
        repeat: Whether items of the history may be recommended; by default as found at the fit.
        reasons: Name the item of the history that speaks most for each recommendation.
        workers: For millions of users: workers of Ray Data, which write parquet files to --out DIR.
        read: how to read the history, where that differs from the fit.
    """
    from statewise.recsys.bulk import recommend_bulk
    from statewise.recsys.narrate import tell_bulk, tell_recommended
    from statewise.recsys.recommend import RecommendSettings, recommend_run

    settings = RecommendSettings(
        users=tuple(users or ()),
        history=history,
        read=read,
        k=k,
        allow=allow,
        deny=deny,
        repeat=repeat,
        reasons=reasons,
    )
    if workers is not None:
        tell_bulk(recommend_bulk(run, settings, out, workers=workers), console)
        return
    with console.progress("Recommending") as bar:
        found = recommend_run(run, settings, progress=bar.update)
    tell_recommended(found, out, console)


@app.command
def similar(run: Path, item: str, /, *, k: int = 10, console: Terminal) -> None:
    """List the items most like one.

    Example: recsys similar runs/events-causal B0001 --k 5

    Args:
        run: Run directory.
        item: Id of an item.
        k: Items to list.
    """
    from statewise.recsys.recommend import similar_run

    table = similar_run(run, item, k)
    console.table(table.columns, table.rows())
    console.result({"item": item, "columns": table.columns, "rows": table.rows()})


@app.command(alias="score")
def evaluate(
    run: Path,
    /,
    *,
    protocol: str = "full",
    repeat: Repeat | None = None,
    seed: Seed = 0,
    console: Terminal,
) -> None:
    """Score a saved model again on its test users, beside the baselines.

    Example: recsys evaluate runs/events-causal --repeat allow

    Args:
        run: Run directory.
        protocol: full ranks all items; sampled-pop100 and sampled-uniform100 rank the target among a hundred
            sampled ones, as early papers do: never compare the two kinds.
        repeat: Whether items of the history compete; by default as found at the fit.
        seed: Seed of the sampled items.
    """
    from statewise.recsys.evaluate import evaluate_run
    from statewise.recsys.narrate import tell_evaluation

    with console.progress("Scoring") as bar:
        found = evaluate_run(run, protocol=protocol, repeat=repeat, seed=seed, progress=bar.update)
    tell_evaluation(found, console)


@app.command
def compare(
    runs: list[Path], /, *, metric: Literal["ndcg", "hr"] = "ndcg", seed: Seed = 0, console: Terminal
) -> None:
    """Compare runs with each other and with the baselines: intervals, and a paired test over the users.

    Example: recsys compare runs/events-causal runs/events-lru

    Args:
        runs: Run directories; the first is what the others are compared with.
        metric: ndcg or hr, at 10.
        seed: Seed of the resampling.
    """
    from statewise.recsys.compare import compare_runs
    from statewise.recsys.narrate import tell_comparison

    rows, users = compare_runs(runs, metric=metric, seed=seed)
    tell_comparison(rows, users, metric, console)


@app.command
def refit(
    run: Path,
    /,
    *,
    out: Out = None,
    epochs: Epochs = None,
    threads: Threads = None,
    console: Terminal,
) -> None:
    """Train the recipe of a run again on all events, for as many epochs as were best.

    Example: recsys refit runs/events-causal --out runs/live

    Args:
        run: Run directory.
        out: New run directory; by default runs/RUN-refit.
        epochs: Passes over the data; by default as many as the best validation had.
        threads: CPU threads; few on small work.
    """
    from statewise.recsys.extend import refit_run

    with console.progress("Fitting") as bar:
        made, one = refit_run(run, out=out, epochs=epochs, threads=threads, progress=bar.update)
    console.show(f"{made.path}: {one.model} on all {len(one.log):,} events; nothing is left to judge it")
    console.result({"run": str(made.path), "model": one.model, "events": len(one.log)})


@app.command
def add_items(run: Path, items: Path, /, *, out: Out = None, console: Terminal) -> None:
    """Add items that nobody has taken yet to a run with --items features or text.

    Example: recsys add-items runs/events-causal new-items.csv

    Args:
        run: Run directory.
        items: Table with a row for each item, with the columns that the run was fitted with.
        out: New run directory; by default runs/RUN-items.
    """
    from statewise.recsys.extend import add_items as extend

    made, count = extend(run, items, out=out)
    console.show(f"{made.path}: {count:,} new items")
    console.result({"run": str(made.path), "added": count})


@app.command
def export(
    run: Path, /, *, out: Path | None = None, format: Literal["onnx", "pt2"] = "onnx", console: Terminal
) -> None:
    """Write a recurrent model as files for other runtimes: one step of the encoder, and the item table.

    Example: recsys export runs/events-lru --out lru-files

    Args:
        run: Run directory.
        out: Directory to write to; by default RUN/export.
        format: onnx or pt2.
    """
    from statewise.recsys.exported import export_run

    folder = run / "export" if out is None else out
    document = export_run(run, folder, format)
    console.show(f"{folder}: step.{format}, items.safetensors, items.json")
    console.result({"folder": str(folder)} | document)


@app.command
def serve(
    run: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    store: Path | None = None,
    durable: bool = False,
    nearest: Literal["auto", "exact", "approximate"] = "auto",
    threads: Threads = 1,
    console: Terminal,
) -> None:
    """Serve recommendations over HTTP, with a state per user that each event moves on.

    POST /event, POST /recommend, GET /health; see /docs of the running service. Needs the extra `serve`.

    Example: recsys serve runs/events-lru --port 8000

    Args:
        run: Run directory.
        host: Address to listen on.
        port: Port to listen on.
        store: SQLite file of events and states; by default states.sqlite in the run.
        durable: Wait for the disk at each event: it then survives a power cut too.
        nearest: exact, approximate (extra `ann`, 95 % recall), or auto: the faster from 100,000 items on.
        threads: CPU threads.
    """
    from statewise.recsys.serving.app import make_engine, run_service

    engine = make_engine(run, store=store, durable=durable, nearest=nearest)
    console.say(engine.facts)
    console.say(f"http://{host}:{port} (POST /event, POST /recommend, GET /health)")
    kept = run_service(engine, host=host, port=port, threads=threads or 1)
    console.result({"run": str(run), "events": kept})


@app.command
def models(*, console: Terminal) -> None:
    """List the methods: encoders, presets named after papers, counting methods."""
    from statewise.core.cli.catalogue import list_models
    from statewise.recsys.models import MODELS

    list_models(MODELS, console)


@app.command
def data(name: str | None = None, path: Path | None = None, /, *, console: Terminal) -> None:
    """List the named public data sets, or check a local copy of one.

    Example: recsys data ml-1m ~/Downloads/ml-1m.parquet

    Args:
        name: Name of a data set.
        path: A local file to check against its sha256.
    """
    from statewise.core.cli.catalogue import list_datasets
    from statewise.recsys.datasets import DATASETS

    list_datasets(DATASETS, console, name, path)


def main() -> int:
    """Run the command line; the exit code."""
    return app.run()


if __name__ == "__main__":  # for `torchrun -m statewise.recsys.cli`
    raise SystemExit(main())
