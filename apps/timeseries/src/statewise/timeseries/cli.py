"""The `forecast` command. The bodies import what they need: `--help` must not wait for it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from statewise.core.cli.app import App
from statewise.core.cli.options import Budget, Device, Duration, Epochs, Out, Resume, Seed, Terminal, Threads
from statewise.timeseries import __version__
from statewise.timeseries.options import ReadOptions

if TYPE_CHECKING:
    from statewise.core.cli.console import Console
    from statewise.timeseries.output import ForecastTable

__all__ = ["app", "main"]

app = App(
    "forecast",
    summary="Forecasts from any CSV, with honest baselines beside them.",
    version=__version__,
    extras={
        "fastapi": "statewise-timeseries[serve]",
        "uvicorn": "statewise-timeseries[serve]",
        "pydantic": "statewise-timeseries[serve]",
        "optuna": "statewise-timeseries[tune]",
        "ray": "statewise-core[ray]",
    },
)

DATA = Group("Data", sort_key=5)
Reading = Annotated[ReadOptions | None, Parameter(name="*", group=DATA)]
Steps = Annotated[int | None, Parameter(alias="-H")]
Intervals = Literal["residual", "quantile"]


@app.command
def check(data: list[str], /, *, read: Reading = None, console: Terminal) -> None:
    """Report on the data, without training.

    Example: forecast check sales.csv

    Args:
        data: CSV or parquet files, also compressed; `-` reads standard input.
        read: how to read them.
    """
    from statewise.timeseries.api import check_data

    report = check_data(data, read)
    for note in report.notes:
        console.say(note.text)
    console.table(report.HEADER, report.rows())
    if report.left_out:
        console.say(f"{report.left_out:,} further series are not listed")
    for suspicion in report.suspicions:
        console.show(suspicion.text)
    season = f"season of {report.period} steps" if report.period > 1 else "no season"
    console.say(f"{season}; `forecast fit` would forecast {report.horizon} steps")
    console.result(asdict(report))


@app.command(alias="train")
def fit(
    data: Annotated[list[str] | None, Parameter(show_default=False)] = None,
    /,
    *,
    model: str = "auto",
    horizon: Steps = None,
    period: int | None = None,
    intervals: Intervals = "residual",
    read: Reading = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    epochs: Epochs = None,
    budget: Budget = None,
    resume: Resume = None,
    console: Terminal,
) -> None:
    """Choose a method on the past, forecast the future.

    Without any flag: every numeric column of a wide file is a series, of a long file every id; text columns
    are ignored with a notice. The horizon is the main season found (24 hours, 7 days, 12 months, 4 quarters,
    52 weeks, else 10 steps), at most a fifth of the series. `--model auto` tries every method within the
    budget of 60 s and chooses on rolling-origin validation; the last fifth of the rows only reports. Written
    are forecast.csv (unique_id, ds, forecast, lo_80, hi_80, lo_95, hi_95), report.html and the model.

    Example: forecast fit sales.csv

    Args:
        data: CSV or parquet files, also compressed; `-` reads standard input.
        model: auto, or one of `forecast models`.
        horizon: Steps to forecast.
        period: Steps in the main season; 1 for none.
        intervals: From the residuals of the past alone, or with quantiles that networks learn.
        read: how to read the files.
        out: Run directory; by default runs/DATA-MODEL. No run is overwritten.
        seed: Seed of everything random.
        device: auto, cpu, cuda, cuda:1, mps.
        threads: CPU threads; few on small work.
        epochs: Passes over the data for networks; there is then no time limit unless --budget sets one.
        budget: Wall time: 60, 60s, 10m, 1h30m; by default a minute, with --epochs no limit.
        resume: Run directory to continue; its settings are taken over.
    """
    from statewise.timeseries.api import fit_run, resume_run
    from statewise.timeseries.narrate import tell_fit
    from statewise.timeseries.settings import FitSettings

    with console.progress("Fitting") as bar:
        if resume is not None:
            outcome = resume_run(resume, data=data, say=console.say, progress=bar.update)
        else:
            settings = FitSettings(
                data=tuple(data or ()),
                model=model,
                horizon=horizon,
                period=period,
                intervals=intervals,
                read=read or ReadOptions(),
                seed=seed,
                device=device,
                threads=threads,
                epochs=epochs,
                budget=budget,
            )
            outcome = fit_run(settings, out=out, say=console.say, progress=bar.update)
    tell_fit(outcome, console)


@app.command
def predict(
    run: Path,
    data: Annotated[list[str] | None, Parameter(show_default=False)] = None,
    /,
    *,
    out: Annotated[Path | None, Parameter(help="CSV file to write; by default the table is printed.")] = None,
    read: Reading = None,
    console: Terminal,
) -> None:
    """Forecast with a model that `fit` has made: from where its data ended, or from newer rows.

    Example: forecast predict runs/sales-auto sales-until-today.csv

    Args:
        run: Run directory.
        data: Newer files of the same kind; without them the forecast starts where the fitted data ended.
        read: how to read them, where that differs from `fit`.
    """
    from statewise.timeseries.api import predict_run

    forecast, notes = predict_run(run, data or (), read)
    for note in notes:
        console.say(note)
    _deliver(forecast, out, console)
    console.result(forecast.as_dict())


@app.command
def update(
    run: Path,
    data: list[str],
    /,
    *,
    out: Annotated[Path | None, Parameter(help="CSV file to write; by default the table is printed.")] = None,
    read: Reading = None,
    console: Terminal,
) -> None:
    """Take new rows into a fitted forecast, without fitting again, and forecast from them.

    The histories and the intervals advance; a row costs the same however many there have been.

    Example: forecast update runs/sales-auto today.csv

    Args:
        run: Run directory; its model is written back.
        data: Files with the new rows; rows known already may be among them.
        read: how to read them, where that differs from `fit`.
    """
    from statewise.timeseries.narrate import tell_update
    from statewise.timeseries.update import update_run

    outcome = update_run(run, data, read)
    tell_update(outcome, outcome.table.levels, console)
    _deliver(outcome.table, out, console)
    console.result(outcome.as_dict())


@app.command
def bulk(
    run: Path,
    data: list[Path],
    /,
    *,
    out: Path,
    frequency: str | None = None,
    id: str | None = None,
    time: str | None = None,
    target: str = "y",
    block: int = 2000,
    workers: int | None = None,
    console: Terminal,
) -> None:
    """Forecast very many series from parquet files, in little memory, with a model that `fit` has made.

    The files are long, one row per series and step. They are streamed, and forecasts written block by block,
    as parquet files like forecast.csv. With --workers Ray Data spreads the blocks.

    Example: forecast bulk runs/sales-nlinear shops.parquet --out forecasts

    Args:
        run: Run directory.
        data: Parquet files.
        out: Directory for the forecasts, and for the series in `store`.
        frequency: Spacing of the steps, such as D; by default that of the fit.
        id: Column that tells the series apart; by default that of the fit.
        time: Column of the time stamps; by default that of the fit.
        target: Column to forecast.
        block: Series in a block.
        workers: Ray workers; by default none, this process does it.
    """
    from statewise.timeseries.bulk import bulk_predict
    from statewise.timeseries.saved import load_forecast
    from statewise.timeseries.store import Columns, build_store

    panel = load_forecast(run).panel
    columns = Columns(id=id or panel.id_name, time=time or panel.time_name, target=target)
    store = build_store(data, out / "store", frequency or panel.frequency.code, columns)
    console.say(f"{len(store):,} series in {store.path}")
    done = bulk_predict(run, store.path, out, block=block, workers=workers)
    noted = f"; {done.noted:,} with a note" if done.noted else ""
    console.show(f"forecasts of {done.series:,} series in {len(done.files):,} files in {out}{noted}")
    console.result({"series": done.series, "noted": done.noted, "files": [str(file) for file in done.files]})


@app.command
def tune(
    data: list[str],
    /,
    *,
    model: str,
    trials: int = 20,
    horizon: Steps = None,
    period: int | None = None,
    intervals: Intervals = "residual",
    read: Reading = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    epochs: Epochs = None,
    budget: Budget = None,
    console: Terminal,
) -> None:
    """Search the settings of one method on validation rows, then fit with the best ones.

    Example: forecast tune sales.csv --model tpgn --budget 10m

    Args:
        data: CSV or parquet files, also compressed; `-` reads standard input.
        model: One of `forecast models`.
        trials: Sets of settings to try, the defaults included.
        horizon: Steps to forecast.
        period: Steps in the main season; 1 for none.
        intervals: From the residuals of the past alone, or with quantiles that networks learn.
        read: how to read the files.
        out: Run directory; by default runs/DATA-MODEL. No run is overwritten.
        seed: Seed of everything random.
        device: auto, cpu, cuda, cuda:1, mps.
        threads: CPU threads; few on small work.
        epochs: Passes over the data in each trial.
        budget: Wall time of search and fit together; by default a minute.
    """
    from statewise.timeseries.narrate import tell_fit, tell_trials
    from statewise.timeseries.settings import FitSettings
    from statewise.timeseries.tune import tune_run

    settings = FitSettings(
        data=tuple(data),
        model=model,
        horizon=horizon,
        period=period,
        intervals=intervals,
        read=read or ReadOptions(),
        seed=seed,
        device=device,
        threads=threads,
        epochs=epochs,
        budget=budget,
    )
    with console.progress("Tuning") as bar:
        tuned = tune_run(settings, trials=trials, out=out, say=console.say, progress=bar.update)
    tell_trials(tuned, console)
    tell_fit(tuned.outcome, console)


@app.command
def detect(
    data: list[str],
    /,
    *,
    train: float = 0.15,
    margin: float = 1.5,
    lookback: int = 24,
    labels: str | None = None,
    read: Reading = None,
    out: Out = None,
    console: Terminal,
) -> None:
    """Find values that the past did not lead to expect.

    A forecast one step ahead is fitted on the first rows of each series; a value is an anomaly when it misses
    by more than anything there did, times a margin. Written are anomalies.csv and report.html.

    Example: forecast detect latency.csv

    Args:
        data: CSV or parquet files, also compressed; `-` reads standard input.
        train: Share of each series, its first rows, to learn from; they are not judged.
        margin: The threshold, in units of the largest miss in those rows.
        lookback: Steps the forecast sees.
        labels: A column of 0 and 1 to compare with; it decides nothing.
        read: how to read the files.
        out: Run directory; by default runs/DATA-anomalies. No run is overwritten.
    """
    from statewise.core.train import Run
    from statewise.timeseries.detect import DetectConfig
    from statewise.timeseries.detect_run import detect_run, write_detection
    from statewise.timeseries.narrate import tell_detection
    from statewise.timeseries.settings import data_name

    config = DetectConfig(train=train, margin=margin, lookback=lookback)
    outcome = detect_run(data, read, config, labels=labels)
    run = Run.create(out, default=f"{data_name(data)}-anomalies")
    write_detection(outcome, run)
    tell_detection(outcome, run, console)


@app.command
def classify(
    data: str,
    /,
    *,
    test: str | None = None,
    run: Path | None = None,
    model: str = "chimera",
    id: str | None = None,
    label: str | None = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    out: Out = None,
    console: Terminal,
) -> None:
    """Learn to tell classes of whole series apart, or label new series.

    Files are .ts (the classification archive's), or tables: one series per row, or long with --id. Lengths
    may differ. A majority vote and ridge regression stand beside the method.

    Example: forecast classify train.ts --test test.ts

    Args:
        data: Labelled series to learn from; with --run, series to label.
        test: Series to judge on; by default a quarter of each class is held out.
        run: Run directory of an earlier `classify`: label the series of DATA with it.
        model: chimera, s5, lru, mamba, gla, gru, ridge or majority.
        id: Column of a long table that tells its series apart.
        label: Column of labels; by default one called label, class, target, category or y.
        epochs: Passes over the series.
        seed: Seed of everything random.
        out: Run directory; with --run the CSV file to write.
    """
    from statewise.timeseries.classify.methods import ClassifyConfig
    from statewise.timeseries.classify.verb import fit_classifier, label_series
    from statewise.timeseries.narrate import tell_classes

    if run is not None:
        labelled = label_series(run, data, id=id, label=label)
        _write_or_show(labelled.csv(), out, f"{len(labelled.panel)} series", console)
        console.result({"series": list(labelled.panel.names), "class": labelled.said})
        return
    with console.progress("Fitting") as bar:
        outcome = fit_classifier(
            data,
            test,
            model=model,
            config=ClassifyConfig(epochs=epochs),
            id=id,
            label=label,
            seed=seed,
            out=out,
            progress=bar.update,
        )
    tell_classes(outcome, console)


@app.command(alias="score")
def evaluate(
    data: list[str],
    /,
    *,
    model: str = "auto",
    horizon: Steps = None,
    period: int | None = None,
    intervals: Intervals = "residual",
    read: Reading = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    epochs: Epochs = None,
    budget: Budget = None,
    console: Terminal,
) -> None:
    """Backtest: what each method would have said from many earlier origins, against what happened.

    Example: forecast evaluate sales.csv --model nlinear

    Args:
        data: CSV or parquet files, also compressed; `-` reads standard input.
        model: auto for all methods, or one of `forecast models`; the naive ones are always beside it.
        horizon: Steps to forecast.
        period: Steps in the main season; 1 for none.
        intervals: From the residuals of the past alone, or with quantiles that networks learn.
        read: how to read the files.
        seed: Seed of everything random.
        device: auto, cpu, cuda, cuda:1, mps.
        threads: CPU threads; few on small work.
        epochs: Passes over the data for networks.
        budget: Wall time: 60, 60s, 10m, 1h30m; by default a minute.
    """
    from statewise.timeseries.api import evaluate_data
    from statewise.timeseries.narrate import tell_scores
    from statewise.timeseries.settings import FitSettings

    settings = FitSettings(
        data=tuple(data),
        model=model,
        horizon=horizon,
        period=period,
        intervals=intervals,
        read=read or ReadOptions(),
        seed=seed,
        device=device,
        threads=threads,
        epochs=epochs,
        budget=budget,
    )
    with console.progress("Backtesting") as bar:
        outcome = evaluate_data(settings, say=console.say, progress=bar.update)
    tell_scores(outcome, console)


@app.command
def explain(
    run: Path,
    series: Annotated[list[str] | None, Parameter(show_default=False)] = None,
    /,
    *,
    console: Terminal,
) -> None:
    """Say what a fitted forecast rests on: past values, seasons, covariates.

    Each past value is moved a little and the forecast made again: the change per unit is its weight.

    Example: forecast explain runs/sales-auto north

    Args:
        run: Run directory.
        series: Names of series; by default the first five.
    """
    from statewise.timeseries.explain import explain_run
    from statewise.timeseries.narrate import tell_explanation

    explained = explain_run(run, series or ())
    for one in explained:
        tell_explanation(one, console)
    console.result({"series": [asdict(one) for one in explained]})


@app.command
def compare(runs: list[Path], /, *, console: Terminal) -> None:
    """Compare runs on the same data, window by window, with a paired test.

    Example: forecast compare runs/sales-nlinear runs/sales-tpgn

    Args:
        runs: Run directories; all are compared with the first.
    """
    from statewise.timeseries.compare import compare_runs
    from statewise.timeseries.narrate import tell_comparison

    tell_comparison(compare_runs(runs), console)


@app.command
def export(
    run: Path,
    /,
    *,
    out: Annotated[
        Path | None, Parameter(help="Directory to write to; by default `onnx` in the run.")
    ] = None,
    batch_size: int = 1,
    console: Terminal,
) -> None:
    """Write the networks and linear maps of a run as ONNX files, with a description beside each.

    Example: forecast export runs/sales-tpgn

    Args:
        run: Run directory.
        batch_size: Windows that a file takes at a time.
    """
    from statewise.timeseries.export import export_run

    done = export_run(run, out, batch_size=batch_size)
    for one in done:
        console.show(str(one.path))
    console.result({"files": [one.description | {"path": str(one.path)} for one in done]})


@app.command
def serve(
    run: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    save_every: Duration = 60.0,
    most_bytes: int = 1_000_000,
    console: Terminal,
) -> None:
    """Answer forecasts over HTTP and take new rows in.

    POST /update with {"series": ..., "rows": [{"ds": ..., "y": ...}]} advances a series, GET
    /predict?series=... forecasts it. There is no authentication.

    Example: forecast serve runs/sales-auto --port 8000

    Args:
        run: Run directory; its state is written back.
        host: Address to listen on.
        port: Port to listen on.
        save_every: Time between two writes of the state.
        most_bytes: Largest body of a request.
    """
    import uvicorn

    from statewise.timeseries.serve import create_app

    service = create_app(run, save_every=save_every, most_bytes=most_bytes)
    console.say(f"http://{host}:{port}/docs describes the endpoints; Ctrl-C stops")
    uvicorn.run(service, host=host, port=port, log_level="warning")
    console.result({"run": str(run), "host": host, "port": port})


@app.command
def models(*, console: Terminal) -> None:
    """List the methods: family, source, when to use them."""
    from statewise.core.cli.catalogue import list_models
    from statewise.timeseries.models import MODELS

    list_models(MODELS, console)


@app.command
def data(name: str | None = None, path: Path | None = None, /, *, console: Terminal) -> None:
    """List the named public data sets, or check a local copy of one.

    Example: forecast data ETTh1 ~/Downloads/ETTh1.csv

    Args:
        name: Name of a data set.
        path: A local file to check against its sha256.
    """
    from statewise.core.cli.catalogue import list_datasets
    from statewise.timeseries.datasets import DATASETS

    list_datasets(DATASETS, console, name, path)


def _deliver(table: ForecastTable, out: Path | None, console: Console) -> None:
    """Print the forecasts, or write them to a file."""
    _write_or_show(table.csv(), out, f"forecasts of {len(table.forecasts)} series", console)


def _write_or_show(text: str, out: Path | None, what: str, console: Console) -> None:
    if out is None:
        console.show(text.rstrip("\n"))
        return
    from statewise.core.train.atomic import write_text

    write_text(out, text)
    console.say(f"{out}: {what}")


def main() -> int:
    """Run the command line; the exit code."""
    return app.run()


if __name__ == "__main__":  # for `torchrun -m statewise.timeseries.cli`
    raise SystemExit(main())
