"""The report of a fit: what was assumed, what won and by how much, and the forecasts, on one page.

Letters: H horizon, Q interval levels.
"""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np

from statewise.core.report import PALETTE, Report, drawing, png
from statewise.core.train import Run
from statewise.timeseries.ahead import coverage_ahead
from statewise.timeseries.api import Outcome
from statewise.timeseries.narrate import COLUMNS, protocol, score_cells, verdict
from statewise.timeseries.panel import Series
from statewise.timeseries.portfolio import Forecast

__all__ = ["write_report"]

_DRAWN = 12
"""Series drawn; of larger panels the first ones."""
_SHOWN = 200
"""Series listed in the table of choices."""


def write_report(outcome: Outcome, run: Run) -> None:
    """Write `report.html` and `forecast.png` into the run."""
    panel, result = outcome.reading.panel, outcome.result
    page = Report(f"Forecast of {', '.join(panel.sources)}", f"{len(panel)} series, {panel.frequency.label}")
    for line in verdict(result):
        page.paragraph(line)
    for note in result.notes:
        page.notice(note)
    page.heading("Forecasts")
    drawn = list(zip(panel.series, outcome.table.forecasts, strict=True))[:_DRAWN]
    for place, (series, forecast) in enumerate(drawn):
        figure = _drawn(series, forecast, outcome)
        if place == 0:
            run.write_bytes("forecast.png", png(figure))
        page.figure(
            figure, caption=f"{series.id}: history, forecast of {forecast.method}, 80 and 95 % intervals"
        )
    if len(panel) > _DRAWN:
        page.paragraph(f"The first {_DRAWN} of {len(panel)} series are drawn; forecast.csv holds all.")
    _scoreboard(page, outcome)
    _coverage_ahead(page, outcome)
    _coverage(page, outcome)
    _choices(page, outcome)
    page.heading("What was assumed")
    for note in outcome.reading.notes:
        page.paragraph(note.text)
    page.facts(
        {
            "horizon": f"{outcome.context.horizon} steps",
            "season": f"{outcome.context.period} steps" if outcome.context.period > 1 else "none",
            "seed": str(outcome.settings.seed),
            "data": panel.fingerprint,
            "seconds": f"{result.seconds:.1f}",
        }
    )
    page.code(f"forecast predict {shlex.quote(str(run.path))} NEWER.csv")
    run.write_text("report.html", page.render())


def _scoreboard(page: Report, outcome: Outcome) -> None:
    """Every method on both blocks; the naive ones are always among them."""
    result = outcome.result
    if not result.rows:
        return
    page.heading("Scoreboard")
    page.paragraph(
        "MASE is the mean absolute error in units of what repeating the last season misses by on the "
        "training rows: below 1 is better than that. Pinball losses and widths are in the same units. "
        "Coverage is the share of actual values inside the interval, calibrated at each origin only on what "
        "had been observed by then."
    )
    captions = {
        "test": protocol(outcome),
        "validation": "validation rows (before the test rows): the rows that chose the method",
    }
    for split, caption in captions.items():
        rows = [row for row in result.rows if row.split == split]
        strong = [place for place, row in enumerate(rows) if row.method == "auto"]
        page.table(COLUMNS, [score_cells(row) for row in rows], caption=caption, strong=strong)


def _coverage_ahead(page: Report, outcome: Outcome) -> None:
    """Coverage and width of the choice on the test rows, by how far ahead."""
    lines = [
        [f"{one.first} to {one.last}" if one.last > one.first else f"{one.first}"]
        + [100 * share for share in one.coverage]
        + [one.width[0]]
        for one in coverage_ahead(outcome.result)
    ]
    if lines:
        header = ["steps ahead", "cover 80 %", "cover 95 %", "width 80 %"]
        page.table(header, lines, caption="the chosen methods on the test rows, by steps ahead")


def _coverage(page: Report, outcome: Outcome) -> None:
    """Coverage and width by series, where there are several."""
    row = next((row for row in outcome.result.rows if row.method == "auto" and row.split == "test"), None)
    if row is None or len(row.series) < 2:
        return
    lines: list[list[Any]] = [
        [name, score.mase, *(100 * share for share in score.coverage), score.width[0], score.windows]
        for name, score in list(row.series.items())[:_SHOWN]
    ]
    header = ["series", "MASE", "cover 80 %", "cover 95 %", "width 80 %", "origins"]
    page.table(header, lines, caption="the chosen methods on the test rows, by series")


def _choices(page: Report, outcome: Outcome) -> None:
    choices = list(outcome.result.choices.values())[:_SHOWN]
    if len(choices) < 2:
        return
    page.heading("Choices")
    header = ["series", "method", "validation MASE", "of", "its MASE", "reason"]
    rows: list[list[Any]] = [
        [one.series, one.method, one.mase, one.baseline, one.baseline_mase, one.reason] for one in choices
    ]
    page.table(
        header, rows, caption="which method forecasts which series, and the naive method it is compared with"
    )


def _drawn(series: Series, forecast: Forecast, outcome: Outcome) -> Any:
    """History, forecast and intervals of one series."""
    horizon, period = outcome.context.horizon, outcome.context.period
    tail = slice(max(0, len(series) - max(5 * horizon, 3 * period, 30)), None)
    times, values = series.times[tail], series.values[tail]
    joint = np.concatenate([times[-1:], forecast.times])
    point = np.concatenate([values[-1:], forecast.point])
    with drawing(width=8.0, height=2.8) as (figure, axes):
        axes.plot(times, values, color=PALETTE[0], label="history")
        for level in range(len(outcome.table.levels) - 1, -1, -1):
            share = f"{outcome.table.levels[level]:.0%}"
            axes.fill_between(
                forecast.times,
                forecast.lower[level],
                forecast.upper[level],
                color=PALETTE[1],
                alpha=0.15 + 0.15 * (level == 0),
                linewidth=0,
                label=f"{share} interval",
            )
        axes.plot(joint, point, color=PALETTE[1], label=f"forecast ({forecast.method})")
        axes.axvline(times[-1], color=PALETTE[0], linewidth=0.6, alpha=0.5)
        axes.set_title(series.id)
        axes.legend(loc="upper left", ncols=4)
        axes.margins(x=0.01)
    return figure
