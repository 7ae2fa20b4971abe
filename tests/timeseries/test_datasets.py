"""The table of named data sets, and the shared copies of them."""

from __future__ import annotations

from pathlib import Path

from statewise.core.datasets import verify
from statewise.timeseries.datasets import DATASETS


def test_every_entry_is_complete():
    for name, entry in DATASETS.items():
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
        verify(DATASETS, name, real_data / "timeseries" / file)
