"""Named data sets: nothing passes that does not hash to the original, and nothing is fetched here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from statewise.core.errors import DataError, UnknownNameError
from statewise.timeseries import datasets
from statewise.timeseries.datasets import DATASETS, Dataset, obtain, verify

DATA = b"date,y\n2020-01-01,1\n"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    sha256 = hashlib.sha256(DATA).hexdigest()
    entry = Dataset(
        summary="a toy",
        file="toy.csv",
        sha256=sha256,
        licence="free",
        credit="us",
        address="https://x/toy.csv",
    )
    monkeypatch.setitem(DATASETS, "toy", entry)
    return "toy"


def test_what_is_fetched_is_verified_and_kept(toy: str, tmp_path: Path):
    asked: list[str] = []

    def fetch(address: str) -> bytes:
        asked.append(address)
        return DATA

    path = obtain(toy, tmp_path / "new", fetch)
    assert path == tmp_path / "new" / "toy.csv"
    assert path.read_bytes() == DATA
    assert obtain("TOY", tmp_path / "new", fetch) == path
    assert asked == ["https://x/toy.csv"]


def test_another_file_is_refused_and_not_kept_under_its_name(toy: str, tmp_path: Path):
    with pytest.raises(DataError, match="is not the original file of 'toy'"):
        obtain(toy, tmp_path, lambda address: DATA + b"\n")
    assert not (tmp_path / "toy.csv").exists()


def test_a_local_copy_is_verified(toy: str, tmp_path: Path):
    (tmp_path / "toy.csv").write_bytes(DATA[:-1])
    with pytest.raises(DataError, match="is not the original file"):
        obtain(toy, tmp_path)
    (tmp_path / "toy.csv").write_bytes(DATA)
    assert verify(toy, tmp_path / "toy.csv") == tmp_path / "toy.csv"


def test_a_failed_fetch_names_the_address(toy: str, tmp_path: Path):
    def fetch(address: str) -> bytes:
        raise OSError("no route to host")

    with pytest.raises(DataError, match=r"https://x/toy\.csv: 'toy' cannot be fetched \(no route to host\)"):
        obtain(toy, tmp_path, fetch)


def test_a_set_without_an_address_asks_for_a_copy(tmp_path: Path):
    with pytest.raises(DataError, match=r"a local copy called airline\.csv"):
        obtain("airline", tmp_path)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'etth1'"):
        verify("ett-h1", "x")


def test_every_entry_is_complete():
    for name, entry in datasets.DATASETS.items():
        assert name == name.lower()
        assert len(entry.sha256) == 64
        assert entry.summary
        assert entry.licence
        assert entry.credit
        assert entry.address == "" or entry.address.startswith("https://raw.githubusercontent.com/")


def test_shared_copies_are_the_originals(real_data: Path):
    files = {
        "etth1": "ETTh1.csv",
        "exchange-rate-csv": "exchange_rate.csv",
        "airline": "airline.csv",
        "nab-ec2-latency": "nab_ec2_request_latency_system_failure.csv",
        "nab-daily-jumpsup": "nab_art_daily_jumpsup.csv",
    }
    for name, file in files.items():
        verify(name, real_data / "timeseries" / file)
