"""The reader: whatever is in a file is read as it is written, or refused with the place and the fix."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from statewise.core.errors import ConfigError, DataError
from statewise.recsys.cli import app
from statewise.recsys.data import read
from statewise.recsys.kcore import k_core
from statewise.recsys.options import ReadOptions
from tests.recsys.broken_inputs import BROKEN, ODD, Broken, Odd, events


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_input_ends_in_2_and_names_the_place_and_the_fix(
    case: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    args = case.build(tmp_path)
    code = app.run(["fit", *args, "--out", str(tmp_path / "run"), "--epochs", "1", "--quiet"])
    message = capsys.readouterr().err
    for piece in case.expected:
        assert piece in message, message
    assert code == 2
    assert "Traceback" not in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_an_odd_input_is_read_as_it_is_written(case: Odd, tmp_path: Path):
    args = case.build(tmp_path)
    kinds = {field.name: field.type for field in dataclasses.fields(ReadOptions)}
    given_: dict[str, Any] = {}
    for flag, value in zip(args[1::2], args[2::2], strict=True):
        name = flag.removeprefix("--").replace("-", "_")
        given_[name] = int(value) if kinds[name] == "int" else value
    reading = read([args[0]], ReadOptions(**given_))
    said = " | ".join([reading.facts, *(note.text for note in reading.notes)])
    for piece in case.said:
        assert piece in said
    if case.first:
        log = reading.log
        assert tuple(log.items[int(v)] for v in log.histories().row(0)) == case.first


def test_there_are_enough_cases_with_names_of_their_own():
    names = [case.name for case in (*BROKEN, *ODD)]
    assert len(names) == len(set(names))
    assert len(names) >= 50


ID = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="#"), min_size=1, max_size=6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(ID, ID, st.integers(0, 3)), min_size=2, max_size=30))
def test_a_log_is_the_stable_sort_of_the_rows(tmp_path: Path, rows: list[tuple[str, str, int]]):
    """Ids of any letters, quoted; equal times keep the order of the rows."""
    quoted = ['"user","item","time"']
    for user, item, time in rows:
        cells = [cell.replace('"', '""') for cell in (user, item)]
        quoted.append(f'"{cells[0]}","{cells[1]}",{time}')
    path = tmp_path / "events.csv"
    path.write_text("\n".join(quoted) + "\n", encoding="utf-8", newline="")
    log = read([path], ReadOptions(duplicates="keep", header=True)).log
    expected: dict[str, list[tuple[int, str]]] = {}
    for user, item, time in rows:
        expected.setdefault(user, []).append((time, item))
    assert log.users.to_list() == list(expected)
    for u, user in enumerate(log.users):
        events_ = sorted(expected[user], key=lambda pair: pair[0])
        assert [log.items[int(v)] for v in log.histories().row(u)] == [item for _, item in events_]


@given(
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60),
    bounds=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_the_core_is_the_largest_part_where_both_bounds_hold(pairs, bounds):
    who, what = (np.array(column) for column in zip(*pairs, strict=True))
    kept = k_core(who, what, np.ones(len(who), dtype=bool), *bounds)
    for codes, least in ((who, bounds[0]), (what, bounds[1])):
        counts = np.bincount(codes[kept], minlength=7)
        assert (counts[codes[kept]] >= least).all()
    # a row that was dropped cannot be put back: with all dropped rows one by one, some bound breaks
    for row in np.flatnonzero(~kept):
        more = kept.copy()
        more[row] = True
        again = k_core(who, what, more, *bounds)
        assert not again[row] or np.array_equal(again, kept)


def test_the_fingerprint_is_that_of_the_events_not_of_the_file(tmp_path: Path):
    rows = events()
    one, other, changed = (tmp_path / name for name in ("a.csv", "b.tsv", "c.csv"))
    one.write_text("\n".join(rows), encoding="utf-8")
    other.write_text("\n".join(rows).replace(",", "\t"), encoding="utf-8")
    changed.write_text("\n".join([*rows[:-1], "u5,i9,1700000009"]), encoding="utf-8")
    prints = [read([path]).log.fingerprint for path in (one, other, changed)]
    assert prints[0] == prints[1] != prints[2]


GOOD = "\n".join(events()) + "\n"
PIECES = st.sampled_from(
    ["", ",", ";", '"', "\n", "\r", "\t", "::", "NaN", "-1", "9" * 30, "\x00", "#", "1e400", "user", "\ufeff"]
)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), PIECES), min_size=1, max_size=4))
def test_whatever_is_in_a_file_it_is_read_or_refused(tmp_path: Path, edits: list[tuple[float, int, str]]):
    content = GOOD
    for place, length, piece in edits:
        at = int(place * len(content))
        content = content[:at] + piece + content[at + length :]
    path = tmp_path / "events.csv"
    path.write_text(content, encoding="utf-8", newline="")
    log, refusal = None, None
    try:
        log = read([path]).log
    except (DataError, ConfigError) as error:
        refusal = error
    if log is None:
        assert refusal is not None
        assert refusal.where or refusal.fix
        return
    assert log.starts[-1] == len(log.item)
    assert (log.item < log.n_items).all()
    assert log.users.null_count() == log.items.null_count() == 0
