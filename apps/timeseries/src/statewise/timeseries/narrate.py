"""What a fit or a backtest has to say on a terminal, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from statewise.core.cli.console import Console
from statewise.core.errors import Interrupted
from statewise.core.train import Run
from statewise.timeseries.api import Outcome, scores
from statewise.timeseries.auto import AutoResult
from statewise.timeseries.choice import Choice
from statewise.timeseries.scoreboard import Row

if TYPE_CHECKING:
    from statewise.timeseries.classify.verb import ClassifyOutcome
    from statewise.timeseries.compare import Comparison
    from statewise.timeseries.detect_run import DetectOutcome
    from statewise.timeseries.explain import Explanation
    from statewise.timeseries.tune import Tuned
    from statewise.timeseries.update import Updated

__all__ = [
    "COLUMNS",
    "score_cells",
    "tell_classes",
    "tell_detection",
    "tell_fit",
    "tell_scores",
    "tell_trials",
    "tell_update",
    "verdict",
]

COLUMNS = (
    "method",
    "MASE",
    "sMAPE %",
    "pinball",
    "cover 80 %",
    "cover 95 %",
    "width 80 %",
    "seconds",
    "note",
)
_EVENTS = 20
"""Stretches of anomalies that are told one by one."""
_MOST = 8
"""Series whose choice is told one by one."""


def tell_fit(outcome: Outcome, console: Console) -> None:
    """The scoreboard, the verdict, and where everything is."""
    run = outcome.run
    assert run is not None
    tell_scores(outcome, console, document=False)
    files = [run.path / name for name in ("forecast.csv", "report.html", "model")]
    console.show("\n".join(["", *(str(file) for file in files)]))
    document = _document(outcome) | {"run": str(run.path), "forecast": outcome.table.as_dict()}
    console.result(document)
    if outcome.result.interrupted:
        raise Interrupted(f"stopped early; the best so far is in {run.path}")


def tell_scores(outcome: Outcome, console: Console, *, document: bool = True) -> None:
    """The scoreboard of the test rows, and the verdict."""
    result = outcome.result
    for note in result.notes:
        console.say(note)
    if result.rows:
        console.table(
            COLUMNS, [score_cells(row) for row in result.rows if row.split == "test"], title=protocol(outcome)
        )
    for line in verdict(result):
        console.show(line)
    if document:
        console.result(_document(outcome))


def tell_update(outcome: Updated, levels: Sequence[float], console: Console) -> None:
    """Rows taken in, and how the intervals have held since the fit."""
    for note in outcome.notes:
        console.say(note)
    for one in outcome.advances[:_MOST]:
        shares = ", ".join(
            f"{share:.0%} inside the {level:.0%} interval"
            for share, level in zip(one.inside, levels, strict=True)
        )
        held = f"; of {one.seen:,} values since the fit {shares}" if one.seen else ""
        console.say(f"{one.series}: {one.rows:,} new steps{held}")
    if len(outcome.advances) > _MOST:
        console.say(f"and {len(outcome.advances) - _MOST:,} more series")


def tell_detection(outcome: DetectOutcome, run: Run, console: Console) -> None:
    """The anomalies, how they agree with labels, and where everything is."""
    if run.notice:
        console.say(run.notice)
    for note in outcome.reading.notes:
        console.say(note.text)
    events = outcome.events()
    console.table(outcome.EVENTS, events[:_EVENTS])
    if len(events) > _EVENTS:
        console.show(f"and {len(events) - _EVENTS:,} more in {run.path / 'anomalies.csv'}")
    judged = sum(len(one.series) - one.trained for one in outcome.found)
    console.show(
        f"{len(events):,} stretches of anomalies in {judged:,} judged steps; the first "
        f"{outcome.config.train:.0%} of each series set the threshold"
    )
    for name, score in outcome.scores.items():
        console.show(
            f"{name}, against its labels: {score.found} of {score.events} events found, "
            f"{score.false_alarms:.2g} false alarms per 1,000 steps, F1 {score.f1:.3f} by step "
            f"(at best {score.best_f1:.3f} with a threshold chosen on the labels)"
        )
    console.show("\n".join(["", *(str(run.path / name) for name in ("anomalies.csv", "report.html"))]))
    console.result(outcome.as_dict() | {"run": str(run.path)})


def tell_classes(outcome: ClassifyOutcome, console: Console) -> None:
    """Accuracy of the method beside the baselines."""
    run, train = outcome.run, outcome.train
    if run.notice:
        console.say(run.notice)
    lengths = train.lengths
    steps = f"{lengths.min()}" if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()}"
    console.say(
        f"{len(train):,} series of {steps} steps, {train.variates} variates, "
        f"{len(train.classes)} classes: {', '.join(train.classes[:8])}"
    )
    rows = [[name, round(one.accuracy, 4), len(one.panel)] for name, one in outcome.judged.items()]
    console.table(("method", "accuracy", "series"), rows, title=f"test series: {outcome.split}")
    best = max(outcome.judged, key=lambda name: outcome.judged[name].accuracy)
    if outcome.judged[best].accuracy > outcome.judged[outcome.method].accuracy:
        console.show(f"{best} does better than {outcome.method} here: --model {best}")
    console.show("\n".join(["", *(str(run.path / name) for name in ("predictions.csv", "model"))]))
    console.result(outcome.as_dict())


def tell_trials(tuned: Tuned, console: Console) -> None:
    """The best settings beside the defaults."""
    first, best = tuned.trials[0], tuned.best
    console.show(
        f"{len(tuned.trials)} trials: validation MASE {best.mase:.4g}, with the defaults {first.mase:.4g}"
    )
    chosen = ", ".join(f"{name} {_brief(value)}" for name, value in best.settings.items())
    console.show(f"best settings: {chosen or 'the defaults'}")


def _brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def tell_explanation(one: Explanation, console: Console) -> None:
    """The weights of the past values of one series."""
    seasons = ", ".join(f"{period} steps ({strength:.2f})" for period, strength in one.seasons) or "none"
    console.show(f"{one.series}: {one.method}; seasons in the history: {seasons}")
    if one.lags:
        rows = [[lag.lag, round(lag.first, 4), round(lag.mean, 4)] for lag in one.lags]
        console.table(
            ("steps back", "on the first step", "mean size over all steps"),
            rows,
            title=f"change of the forecast per unit of a past value: the {len(rows)} largest of "
            f"{one.looked} lags ({one.share:.0%} of their weight)",
        )
    if one.covariates:
        rows = [[effect.name, round(effect.first, 4), round(effect.mean, 4)] for effect in one.covariates]
        console.table(
            ("covariate", "on the first step", "mean over all steps"),
            rows,
            title="change of the forecast when it is one unit higher over the horizon",
        )


def tell_comparison(compared: Sequence[Comparison], console: Console) -> None:
    """Every run beside the first."""
    columns = ("run", "MASE", "difference", "p", "origins", "better on")
    rows: list[list[Any]] = []
    for place, one in enumerate(compared):
        against = [None, None] if place == 0 else [f"{one.difference:+.1%}", _p_value(one.p)]
        rows.append([one.run, round(one.mase, 4), *against, one.origins, f"{one.better} of {one.series}"])
    console.table(columns, rows, title="test rows, the windows that all runs were judged on")
    console.show("p: chance of a difference this large between equally good runs (Diebold and Mariano)")
    document = [asdict(one) | {"difference": one.difference} for one in compared]
    plain = [{key: None if value != value else value for key, value in row.items()} for row in document]
    console.result({"runs": plain})


def _p_value(p: float) -> str | None:
    return None if p != p else "below .001" if p < 0.001 else f"{p:.3f}"


def protocol(outcome: Outcome) -> str:
    """How the scores came about, in one line."""
    plan, panel = outcome.result.plan, outcome.reading.panel
    judged = len(plan.panel)
    test = sum(int(use.sum()) for use in plan.testing())
    return (
        f"test rows (the last fifth; they chose nothing): {judged} of {len(panel)} series, {test} origins, "
        f"{plan.horizon} steps ahead, seed {outcome.settings.seed}, data {panel.fingerprint}"
    )


def score_cells(row: Row) -> list[Any]:
    """A line of the table."""
    score = row.score
    if score is None:
        return [row.method, *[None] * 6, round(row.seconds, 1), row.note]
    cover = [round(100 * share, 1) for share in score.coverage]
    numbers = [
        round(score.mase, 3),
        round(score.smape, 2),
        round(score.pinball, 3),
        *cover,
        round(score.width[0], 2),
    ]
    return [row.method, *numbers, round(row.seconds, 1), row.note]


def verdict(result: AutoResult) -> list[str]:
    """Which method won, and by how much: on the rows that chose it, and on the test rows."""
    lines = []
    counts: dict[str, list[str]] = {}
    for name, choice in result.choices.items():
        counts.setdefault(choice.method, []).append(name)
    for method, names in counts.items():
        which = ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
        lines.append(f"{which}: {method} ({_why([result.choices[name] for name in names])})")
    lines += _against_naive(result)
    lines += [f"{name}: {reason}; the last value is repeated" for name, reason in result.fallbacks.items()]
    return lines


def _why(choices: list[Choice]) -> str:
    """The reason for a method, and what it gains over the naive one on the rows that chose it."""
    first = choices[0]
    if not first.baseline or first.method == first.baseline:
        return first.reason
    gain = sum(choice.gain for choice in choices) / len(choices)
    size = f"{abs(gain):.0%} {'smaller' if gain >= 0 else 'larger'}"
    return f"{first.reason}; its validation error is {size} than that of {first.baseline}"


def _against_naive(result: AutoResult) -> list[str]:
    rows = {row.method: row for row in result.rows if row.split == "test" and row.score is not None}
    chosen, naive = rows.get("auto"), rows.get("seasonal-naive") or rows.get("naive")
    if (
        chosen is None
        or naive is None
        or chosen.score is None
        or naive.score is None
        or not naive.score.mase > 0
    ):
        return []
    ratio = chosen.score.mase / naive.score.mase
    if ratio < 1:
        return [f"on the test rows the choice errs {1 - ratio:.0%} less than {naive.method}"]
    return [
        f"on the test rows the choice is no better than {naive.method}: "
        f"MASE {chosen.score.mase:.3f} to {naive.score.mase:.3f}"
    ]


def _document(outcome: Outcome) -> dict[str, Any]:
    result = outcome.result
    return {
        "notes": [*(note.text for note in outcome.reading.notes), *result.notes],
        "horizon": outcome.context.horizon,
        "period": outcome.context.period,
        "frequency": outcome.reading.panel.frequency.code,
        "fingerprint": outcome.reading.panel.fingerprint,
        "seed": outcome.settings.seed,
        "choices": {name: choice.method for name, choice in result.choices.items()},
        "fallbacks": result.fallbacks,
        "scores": scores(result),
        "seconds": round(result.seconds, 3),
    }
