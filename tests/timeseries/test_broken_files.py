"""Every broken input ends in an error that names the place and the fix; a few are stated instead."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statewise.core.errors import ConfigError, DataError
from statewise.timeseries.data import Reading, ReadOptions, read
from tests.timeseries.broken_inputs import BROKEN, STATED, Broken, Stated, lines


def run(args: list[str]) -> Reading:
    """What the command line makes of the arguments, as far as the reader is concerned."""
    lists = {field.name for field in dataclasses.fields(ReadOptions) if isinstance(field.default, tuple)}
    settings: dict[str, Any] = {}
    sources: list[str] = []
    rest = iter(args)
    for arg in rest:
        if not arg.startswith("--"):
            sources.append(arg)
            continue
        name = arg.removeprefix("--").replace("-", "_")
        settings[name] = (*settings.get(name, ()), next(rest)) if name in lists else next(rest)
    return read(sources, ReadOptions(**settings))


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_input_names_the_place_and_the_fix(case: Broken, tmp_path: Path):
    args = case.build(tmp_path)
    with pytest.raises((DataError, ConfigError)) as caught:
        run(args)
    message = str(caught.value)
    for piece in case.expected:
        assert piece in message
    assert "\n  fix: " in message
    # one screen, whatever the file holds
    assert all(len(line) < 400 for line in message.splitlines())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("case", STATED, ids=lambda case: case.name)
def test_a_series_without_information_is_kept_and_said(case: Stated, tmp_path: Path):
    reading = run(case.build(tmp_path))
    said = [note.text for note in reading.notes if note.kind == case.kind]
    assert len(said) == 1
    assert case.expected in said[0]
    assert "y" in reading.panel.ids


def test_there_are_enough_cases_with_names_of_their_own():
    names = [case.name for case in (*BROKEN, *STATED)]
    assert len(names) == len(set(names))
    assert len(names) >= 60


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "locked.csv"
    path.write_text("\n".join(lines()), encoding="utf-8")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"(?s)locked\.csv: may not be read by this user.*chmod u\+r"):
        read([path])


def test_empty_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "nothing").write_bytes(b"")
    with (tmp_path / "nothing").open(encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        with pytest.raises(DataError, match="standard input: is empty"):
            read(["-"])


def test_no_source_at_all():
    with pytest.raises(DataError, match="no data file is named"):
        read([])


def test_the_first_of_several_wrong_cells_is_named(tmp_path: Path):
    rows = lines()
    rows[11], rows[5] = "2020-01-11,x", "2020-01-05,y"
    path = tmp_path / "data.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(DataError, match="row 6, column 'y': 'y' is no number"):
        read([path])


def test_row_numbers_are_lines_of_the_file(tmp_path: Path):
    """Comments, blank lines and line feeds inside quotation marks count."""
    rows = [
        "# a remark",
        "date,note,y",
        "",
        '2020-01-01,"two\nlines",1',
        "2020-01-02,b,2",
        "2020-01-03,c,oops",
    ]
    path = tmp_path / "data.csv"
    path.write_text("\r\n".join(rows), encoding="utf-8", newline="")
    with pytest.raises(DataError) as caught:
        read([path])
    with path.open(encoding="utf-8") as file:
        number = next(i for i, line in enumerate(file, start=1) if "oops" in line)
    assert f"row {number}, column 'y'" in str(caught.value)


def test_a_wrong_cell_in_the_second_file_names_that_file(tmp_path: Path):
    good, bad = tmp_path / "a.csv", tmp_path / "b.csv"
    good.write_text("\n".join(lines()), encoding="utf-8")
    bad.write_text("date,y\n2020-03-01,1\n2020-03-02,?!\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"b\.csv, row 3, column 'y'"):
        read([good, bad])


def test_no_number_of_a_good_series_is_changed(tmp_path: Path):
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines()), encoding="utf-8")
    assert np.array_equal(read([path]).panel.series[0].values, [i % 7 + 0.5 for i in range(40)])


GOOD = (
    "\n".join(lines()),
    "Datum;Wert;Rest\n" + "".join(f"{d:02d}.01.2020;{d},5;{d * 1000}\n" for d in range(1, 31)),
    "id,ds,y\n" + "".join(f"{name},2020-01-{d:02d},{d}\n" for name in "ab" for d in range(1, 31)),
    "time,y\n" + "".join(f"2020-01-01T{i // 4:02d}:{15 * (i % 4):02d}:00+01:00,{i}\n" for i in range(60)),
)
PIECES = st.sampled_from([
    "", ",", ";", '"', "\n", "\r", "\t", "NaN", "inf", "-1e400", "9" * 30, "2020-02-30", "31/12/2019", "\x00",
    "#", "Total", "-", "yes", "1,234", "1.2.3", "+02:00", "date", "\ufeff", "2020-W53", "99:99", "Q1 2020",
])  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.sampled_from(GOOD),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), PIECES), min_size=1, max_size=4),
)
def test_whatever_is_in_a_file_it_is_read_or_refused_with_a_fix(
    tmp_path: Path, text: str, edits: list[tuple[float, int, str]]
):
    for place, length, piece in edits:
        at = int(place * len(text))
        text = text[:at] + piece + text[at + length :]
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8", newline="")
    panel, refusal = None, None
    try:
        panel = read([path]).panel
    except (DataError, ConfigError) as error:
        refusal = error
    if panel is None:
        assert refusal is not None
        assert refusal.where
        assert refusal.fix
        return
    for series in panel.series:
        assert not np.isinf(series.values).any()
        assert np.array_equal(series.times, panel.frequency.range(series.times[0], len(series)))
