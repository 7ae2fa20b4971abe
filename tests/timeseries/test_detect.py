"""Anomalies: a threshold from the training rows alone, spikes found once, new levels accepted."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import DataError
from statewise.timeseries.cli import app
from statewise.timeseries.detect import DetectConfig, Detected, detect
from statewise.timeseries.detection_scores import stretches, with_labels
from statewise.timeseries.frequency import Frequency
from statewise.timeseries.panel import Panel, Series
from tests.timeseries.broken_inputs import days

STEP = Frequency("step")


def wave(n: int = 600, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 10 + 5 * np.sin(2 * np.pi * np.arange(n) / 12) + 0.3 * rng.normal(size=n)


def found(values: np.ndarray, config: DetectConfig | None = None) -> Detected:
    series = Series(id="y", times=np.arange(len(values)), values=values)
    return detect(Panel(series=(series,), frequency=STEP), config or DetectConfig())[0]


def test_spikes_are_found_and_nothing_else():
    values = wave()
    at = [200, 201, 333, 500]
    values[at] += [8, -8, 9, -7]
    assert np.flatnonzero(found(values).anomalies).tolist() == at


def test_a_level_that_stays_is_an_event_and_then_the_new_level():
    values = wave()
    values[300:] += 20
    events = found(values).events
    assert [start for start, _ in events] == [300]
    assert events[0][1] < 330


def test_no_row_after_the_training_rows_moves_threshold_or_earlier_scores():
    values = wave()
    before = found(values)
    values[400:] = np.random.default_rng(1).normal(size=200) * 1e6
    after = found(values)
    np.testing.assert_array_equal(before.score[:400], after.score[:400])
    assert before.trained == after.trained == 90


def test_gaps_are_no_anomalies_and_do_not_hide_them():
    values = wave()
    values[100:103] = values[30:33] = values[250] = np.nan
    values[252] += 9
    result = found(values)
    assert np.flatnonzero(result.anomalies).tolist() == [252]
    assert result.score[250] == 0


def test_scores_do_not_depend_on_units():
    values = wave()
    values[300] += 4
    np.testing.assert_allclose(found(values).score, found(1e6 + 1e3 * values).score, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"), [(np.arange(20.0), "too few rows"), (np.full(400, 2.0), "does not vary")]
)
def test_what_cannot_be_learnt_from_is_said(values: np.ndarray, message: str):
    with pytest.raises(DataError, match=message):
        found(values)


@given(st.lists(st.booleans(), max_size=60))
def test_stretches_are_the_flags(flags: list[bool]):
    again = np.zeros(len(flags), dtype=bool)
    runs = stretches(np.array(flags, dtype=bool))
    for first, last in runs:
        again[first : last + 1] = True
    assert again.tolist() == flags
    assert all(b[0] - a[1] >= 2 for a, b in itertools.pairwise(runs))


def test_scores_count_points_and_events():
    score = np.array([9, 0, 2, 0, 0, 2, 2, 0, 0, 0.5])
    labels = np.array([1, 0, 1, 1, 0, 0, 0, 0, 1, 1], dtype=bool)
    result = with_labels(score, labels, first=1)
    assert (result.events, result.found) == (2, 1)
    assert (result.precision, result.recall, result.f1) == (1 / 3, 1 / 4, 2 / 7)
    assert result.event_precision == 1 / 2
    assert result.false_alarms == 1000 * 2 / 5
    assert result.best_f1 == pytest.approx(8 / 13)  # flagging all nine steps, four of them right


def table(path: Path) -> str:
    values = wave(300)
    values[[150, 222]] += 9
    rows = [f"{day},{value},{int(i in (150, 222))}" for i, (day, value) in enumerate(zip(days(300), values))]  # noqa: B905
    path.write_text("\n".join(["date,y,label", *rows]) + "\n", encoding="utf-8")
    return str(path)


def test_the_command_writes_what_it_found(tmp_path: Path, capsys):
    run = tmp_path / "run"
    assert app.run(["detect", table(tmp_path / "y.csv"), "--labels", "label", "--out", str(run)]) == 0
    said = capsys.readouterr()
    assert "2 of 2 events found, 0 false alarms" in said.out
    assert "threshold chosen on the labels" in said.out
    lines = (run / "anomalies.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "unique_id,ds,value,expected,score,anomaly"
    assert [line.split(",")[1] for line in lines if line.endswith(",1")] == ["2020-05-30", "2020-08-10"]
    assert "<svg" in (run / "report.html").read_text(encoding="utf-8")


def test_json_is_one_document_and_labels_are_checked(tmp_path: Path, capsys):
    path = table(tmp_path / "y.csv")
    out = ["--out", str(tmp_path / "run")]
    assert app.run(["detect", path, "--target", "y", *out, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["events"]) == 2
    assert app.run(["detect", path, "--labels", "y", *out]) == 2
    assert app.run(["detect", path, "--margin", "0", *out]) == 2
    assert "above 0" in capsys.readouterr().err
