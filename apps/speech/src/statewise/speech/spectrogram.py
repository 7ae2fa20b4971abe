"""Spectrograms of a file before and after, and the page that shows them with players."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from statewise.core.report import Report, drawing, png
from statewise.core.train.atomic import write_text
from statewise.speech.audio import as_bytes, read_sound
from statewise.speech.enhancing import Outcome

__all__ = ["draw", "spectrogram", "write_page", "write_plot"]

WINDOW = 0.032
"""Seconds of a frame."""
COLUMNS = 1200
"""Frames drawn at most."""
RANGE = 80.0
"""dB from black to the loudest bin."""
PLAYED = 30.0
"""Seconds of each file that the page can play."""
DRAWN = 600.0
"""Seconds of each file that are drawn: a long file would not fit in memory."""
SHOWN = 12
"""Files on the page."""


def spectrogram(x: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels in dB (F, T), frequencies in kHz (F,) and times in s (T,) of a signal (N,).

    A long signal is cut in equal pieces of which each gives the mean power of its frames.
    """
    size = max(64, round(WINDOW * rate))
    x = np.pad(x, (0, max(0, size - len(x))))
    starts = np.arange(0, len(x) - size + 1, size // 4)
    window = np.hanning(size).astype(np.float32)
    groups = np.array_split(starts, min(COLUMNS, len(starts)))
    power = [
        np.square(np.abs(np.fft.rfft(x[group[:, None] + np.arange(size)] * window))).mean(axis=0)
        for group in groups
    ]
    level = 10 * np.log10(np.stack(power, axis=1) / np.square(window.sum() / 2) + 1e-12)
    times = np.array([(group[0] + group[-1] + size) / 2 / rate for group in groups])
    return level, np.fft.rfftfreq(size, 1 / rate) / 1000, times


def draw(before: np.ndarray, after: np.ndarray, rate: int, title: str) -> Any:
    """Two spectrograms above each other on one scale of levels; signals (N,)."""
    with drawing(width=9.0, height=5.4, rows=2) as (figure, axes):
        maps = [spectrogram(x, rate) for x in (before, after)]
        top = max(float(level.max()) for level, _, _ in maps)
        image: Any = None
        for place, word, (level, kilohertz, times) in zip(axes, ("before", "after"), maps, strict=True):
            end = max(float(times[-1]), 1e-3)
            image = place.imshow(
                level,
                origin="lower",
                aspect="auto",
                extent=(0.0, end, 0.0, float(kilohertz[-1])),
                cmap="magma",
                vmin=top - RANGE,
                vmax=top,
                interpolation="nearest",
            )
            place.set_title(f"{title}: {word}")
            place.set_ylabel("kHz")
            place.grid(False)
        axes[-1].set_xlabel("seconds")
        figure.colorbar(image, ax=list(axes), label="dB", pad=0.01)
    return figure


def write_plot(outcome: Outcome, path: Path) -> None:
    """The spectrograms of one file as a PNG."""
    before, after, rate = _signals(outcome)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(draw(before, after, rate, Path(outcome.source).name)))


def write_page(outcomes: Sequence[Outcome], path: Path, model: str, notes: Sequence[str] = ()) -> None:
    """One HTML page: a table of all files, spectrograms and players of the first ones."""
    page = Report("Enhanced speech", f"{len(outcomes)} files, model {model}")
    for note in notes:
        page.notice(note)
    levels = ["level before, dB", "level after, dB"]
    header = ["file", "status", "seconds", *levels, "times real time", "remarks"]
    rows = [_row(one) for one in outcomes]
    page.table(header, rows, caption="Levels are of the whole file, in dB below full scale.")
    players = []
    for outcome in [one for one in outcomes if one.status == "done" and one.target != "-"][:SHOWN]:
        before, after, rate = _signals(outcome)
        name = Path(outcome.source).name
        page.heading(name)
        page.figure(draw(before, after, rate, name), caption=f"{name} before and after", kind="png")
        marker = f"[[players {len(players)}]]"
        page.paragraph(marker)
        players.append((marker, _players(before, after, rate)))
    text = page.render()
    for marker, player in players:
        text = text.replace(f"<p>{marker}</p>", player)
    write_text(path, text)


def _row(one: Outcome) -> list[Any]:
    remarks = "; ".join([*one.remarks, *([one.error.what] if one.error else [])])
    seconds = one.info.seconds if one.info else None
    finite = [level if np.isfinite(level) else None for level in (one.level_in, one.level_out)]
    return [one.source, one.status, seconds, *finite, one.real_time_factor, remarks]


def _signals(outcome: Outcome) -> tuple[np.ndarray, np.ndarray, int]:
    """The first channels of the first minutes of input and output."""
    before, info = read_sound(outcome.source, DRAWN)
    after, _ = read_sound(outcome.target, DRAWN)
    return before[:, 0], after[:, 0], info.rate


def _players(before: np.ndarray, after: np.ndarray, rate: int) -> str:
    """Two players with the first seconds of the signals inside them."""
    parts = []
    for word, x in (("before", before), ("after", after)):
        data = base64.b64encode(as_bytes(x[: round(PLAYED * rate)], rate)).decode()
        label = html.escape(word)
        source = f"data:audio/wav;base64,{data}"
        parts.append(f'<p>{label} <audio controls preload="none" src="{source}"></audio></p>')
    return "".join(parts)
