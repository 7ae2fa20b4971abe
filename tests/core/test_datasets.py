"""Named data sets: nothing passes that does not hash to the original, and nothing is fetched here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from statewise.core.datasets import Dataset, obtain, verify
from statewise.core.errors import DataError, UnknownNameError

DATA = b"date,y\n2020-01-01,1\n"


TABLE = {
    "toy-set": Dataset(
        summary="a toy",
        file="toy.csv",
        sha256=hashlib.sha256(DATA).hexdigest(),
        licence="free",
        credit="us",
        address="https://x/toy.csv",
    ),
    "boxed": Dataset(summary="inside a package", file="boxed.csv", sha256="0" * 64, licence="", credit="us"),
}


def test_what_is_fetched_is_verified_and_kept(tmp_path: Path):
    asked: list[str] = []

    def fetch(address: str) -> bytes:
        asked.append(address)
        return DATA

    path = obtain(TABLE, "toy-set", tmp_path / "new", fetch)
    assert path == tmp_path / "new" / "toy.csv"
    assert path.read_bytes() == DATA
    assert obtain(TABLE, "TOY_set", tmp_path / "new", fetch) == path
    assert asked == ["https://x/toy.csv"]


def test_another_file_is_refused_and_not_kept_under_its_name(tmp_path: Path):
    with pytest.raises(DataError, match="is not the original file of 'toy-set'"):
        obtain(TABLE, "toy-set", tmp_path, lambda address: DATA + b"\n")
    assert not (tmp_path / "toy.csv").exists()


def test_a_local_copy_is_verified(tmp_path: Path):
    (tmp_path / "toy.csv").write_bytes(DATA[:-1])
    with pytest.raises(DataError, match="is not the original file"):
        obtain(TABLE, "toy-set", tmp_path)
    (tmp_path / "toy.csv").write_bytes(DATA)
    assert verify(TABLE, "toy-set", tmp_path / "toy.csv") == tmp_path / "toy.csv"


def test_a_failed_fetch_names_the_address(tmp_path: Path):
    def fetch(address: str) -> bytes:
        raise OSError("no route to host")

    with pytest.raises(
        DataError, match=r"https://x/toy\.csv: 'toy-set' cannot be fetched \(no route to host\)"
    ):
        obtain(TABLE, "toy-set", tmp_path, fetch)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'toy-set'"):
        verify(TABLE, "toys-et", "x")


def test_a_set_without_an_address_asks_for_a_copy(tmp_path: Path):
    with pytest.raises(DataError, match=r"a local copy called boxed\.csv"):
        obtain(TABLE, "boxed", tmp_path)
