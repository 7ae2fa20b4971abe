"""A prepared log is the log that the reader makes, and trains the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from statewise.core.errors import ConfigError, DataError
from statewise.recsys import kcore
from statewise.recsys import prepare as module
from statewise.recsys.data import read
from statewise.recsys.options import ReadOptions
from statewise.recsys.prepare import open_prepared, prepare


def events(path: Path, n: int = 4_000, *, times: bool = True) -> Path:
    rng = np.random.default_rng(0)
    columns = {
        "user_id": [f"u{u:05d}" for u in rng.integers(300, size=n)],
        "item_id": [f"{v:04d}" for v in rng.integers(90, size=n)],
    }
    if times:
        columns["timestamp"] = (1_700_000_000 + rng.integers(500, size=n)).tolist()
    frame = pl.DataFrame(columns)
    frame = pl.concat([frame, frame.head(50)])  # some rows come twice
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
    return path


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("times", [True, False])
def test_it_is_the_log_of_the_reader(tmp_path: Path, monkeypatch, ending: str, times: bool):
    monkeypatch.setattr(module, "_BATCH", 700)
    monkeypatch.setattr(module, "_SHARD", 500)
    path = events(tmp_path / f"events.{ending}", times=times)
    mine = prepare(path, tmp_path / "prepared")
    theirs = read([path]).log
    assert mine.fingerprint == theirs.fingerprint
    assert isinstance(mine.item, np.memmap)
    assert not (tmp_path / "prepared" / "shards").exists()
    assert read([tmp_path / "prepared"]).log.fingerprint == theirs.fingerprint


@pytest.mark.parametrize(("min_user", "min_item"), [(14, 1), (12, 25), (1, 48)])
def test_the_k_core_is_that_of_the_reader(tmp_path: Path, monkeypatch, min_user: int, min_item: int):
    monkeypatch.setattr(module, "_SHARD", 500)
    monkeypatch.setattr(kcore, "_USERS", 37)
    path = events(tmp_path / "events.parquet")
    options = ReadOptions(min_user=min_user, min_item=min_item)
    mine, theirs = prepare(path, tmp_path / "prepared", options), read([path], options)
    assert 0 < len(mine) < 4_000
    assert mine.fingerprint == theirs.log.fingerprint
    assert mine.users.to_list() == theirs.log.users.to_list()
    said = [note.text for note in read([tmp_path / "prepared"]).notes]
    assert any("left out by the k-core" in text for text in said)


def test_a_core_that_is_empty_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="no event is left with --min-user 4000"):
        prepare(events(tmp_path / "e.csv"), tmp_path / "prepared", ReadOptions(min_user=4_000))


def test_blank_ids_and_bad_times_name_their_row(tmp_path: Path):
    lines = ["user,item,time", "a,x,1", "b,y,2", ",z,3"]
    (tmp_path / "e.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"row 4, column 'user': is empty"):
        prepare(tmp_path / "e.csv", tmp_path / "one")
    (tmp_path / "e.csv").write_text("\n".join([*lines[:3], "c,z,soon"]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"row 4, column 'time': is no time"):
        prepare(tmp_path / "e.csv", tmp_path / "two")


def test_what_is_there_is_left_alone_and_damage_is_noticed(tmp_path: Path):
    path = events(tmp_path / "events.parquet", 500)
    with pytest.raises(ConfigError, match="does not stream"):
        prepare(path, tmp_path / "p", ReadOptions(blanks="skip"))
    prepare(path, tmp_path / "p")
    with pytest.raises(ConfigError, match="holds something already"):
        prepare(path, tmp_path / "p")
    whole = (tmp_path / "p" / "item.i32").read_bytes()
    (tmp_path / "p" / "item.i32").write_bytes(whole[:-8])
    with pytest.raises(DataError, match="damaged prepared log"):
        open_prepared(tmp_path / "p")
