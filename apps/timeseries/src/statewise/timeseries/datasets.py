"""Named public data sets: where the original is, what it must hash to, and under which licence.

Nothing is shipped and nothing is fetched unless asked for; whatever is used is compared with its sha256
first.
"""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from statewise.core.errors import DataError, UnknownNameError

__all__ = ["DATASETS", "Dataset", "obtain", "verify"]

_ETT = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small"
_NAB = "https://raw.githubusercontent.com/numenta/NAB/master/data"
_LSTNET = "https://raw.githubusercontent.com/laiguokun/multivariate-time-series-data/master"
_TIMEOUT = 60.0
"""Seconds without an answer after which a download is given up."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One public file."""

    summary: str
    """What it holds."""
    file: str
    """Its usual name."""
    sha256: str
    licence: str
    """Terms of use, in words."""
    credit: str
    """Whom to cite."""
    address: str = ""
    """Official address; empty where the file is only found inside a package, and must be given as a path."""
    size: int = 0
    """Bytes."""


_ETT_PAPER = (
    "Zhou et al., Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting, 2021"
)
_NAB_PAPER = "Lavin and Ahmad, Evaluating Real-time Anomaly Detection Algorithms: the Numenta Benchmark, 2015"

DATASETS = {
    "etth1": Dataset(
        summary="transformer oil temperature (OT) and six loads, hourly, 2016-07 to 2018-06; 17,420 rows",
        file="ETTh1.csv",
        sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
        licence="CC BY-ND 4.0: use with credit, pass on unmodified only",
        credit=_ETT_PAPER,
        address=f"{_ETT}/ETTh1.csv",
        size=2_589_657,
    ),
    "etth2": Dataset(
        summary="a second transformer, as etth1; 17,420 rows",
        file="ETTh2.csv",
        sha256="a3dc2c597b9218c7ce1cd55eb77b283fd459a1d09d753063f944967dd6b9218b",
        licence="CC BY-ND 4.0: use with credit, pass on unmodified only",
        credit=_ETT_PAPER,
        address=f"{_ETT}/ETTh2.csv",
        size=2_417_960,
    ),
    "exchange-rate": Dataset(
        summary="eight exchange rates on 7,588 business days from 1990 on; no header and no time stamps",
        file="exchange_rate.txt.gz",
        sha256="6a4fbb561dcdee43f071a83badbeec9223a335552278348656738b556f1c2e9d",
        licence="none stated",
        credit="Lai et al., Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks, 2018",
        address=f"{_LSTNET}/exchange_rate/exchange_rate.txt.gz",
        size=177_142,
    ),
    "exchange-rate-csv": Dataset(
        summary="the exchange rates with a header and an invented daily calendar, as many papers use them",
        file="exchange_rate.csv",
        sha256="d55e7aa2641009814a18ba3279431b13f6d413b0eab195b9ff21988d8cf94e97",
        licence="none stated",
        credit="Lai et al., Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks, 2018",
        size=630_212,
    ),
    "airline": Dataset(
        summary="airline passengers, monthly, 1949 to 1960; 144 rows",
        file="airline.csv",
        sha256="28af0eb869db6d9fbd31d5af03993a0cbf36c0857c3eb046a068c094b60da851",
        licence="free to use",
        credit="Box and Jenkins, Time Series Analysis: Forecasting and Control, 1976",
        size=1_744,
    ),
    "nab-ec2-latency": Dataset(
        summary="latency of a server before a failure, every 5 minutes, with labelled anomalies; 4,032 rows",
        file="ec2_request_latency_system_failure.csv",
        sha256="98378580aa80157e057c61d59d81daddccc6c65a2c0c800e3f01f603b8215c3f",
        licence="MIT",
        credit=_NAB_PAPER,
        address=f"{_NAB}/realKnownCause/ec2_request_latency_system_failure.csv",
        size=123_428,
    ),
    "nab-daily-jumpsup": Dataset(
        summary="an artificial daily pattern with one labelled jump, every 5 minutes; 4,032 rows",
        file="art_daily_jumpsup.csv",
        sha256="f79f92b93ee4f9c10e2dc552505e8880b0c618639ed5e0f9816e044b75c26456",
        licence="MIT",
        credit=_NAB_PAPER,
        address=f"{_NAB}/artificialWithAnomaly/art_daily_jumpsup.csv",
        size=140_548,
    ),
}
"""The sets by name."""


def verify(name: str, path: str | Path) -> Path:
    """The path of a local copy, if it is the original file.

    Raises:
        UnknownNameError: when there is no such set.
        DataError: when the file is absent or differs from the original.
    """
    dataset, path = _dataset(name), Path(path)
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read ({error})", where=str(path), fix="check the path") from None
    if found != dataset.sha256:
        raise DataError(
            f"is not the original file of '{name}'",
            where=str(path),
            seen=f"sha256 {found[:16]}...",
            expected=f"sha256 {dataset.sha256[:16]}...",
            fix="fetch it again, or read the file by its path instead of by the name of the set",
        )
    return path


def obtain(name: str, folder: str | Path, fetch: Callable[[str], bytes] | None = None) -> Path:
    """The path of the set in `folder`, fetched from its official address unless it is there already.

    Args:
        name: a name of `DATASETS`.
        folder: where the file is kept; made if needed.
        fetch: from an address to bytes; default: a plain HTTPS request.

    Raises:
        UnknownNameError: when there is no such set.
        DataError: when it has no address, cannot be fetched, or is not the original.
    """
    dataset, path = _dataset(name), Path(folder) / _dataset(name).file
    if path.exists():
        return verify(name, path)
    if not dataset.address:
        raise DataError(
            f"'{name}' has no address of its own",
            where=str(path),
            expected=f"a local copy called {dataset.file}",
            fix=f"put the file there ({dataset.credit})",
        )
    try:
        data = (fetch or _download)(dataset.address)
    except OSError as error:
        raise DataError(
            f"'{name}' cannot be fetched ({error})",
            where=dataset.address,
            fix=f"check the connection, or put a copy at {path}",
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(data)
    verify(name, partial)
    return partial.replace(path)


def _dataset(name: str) -> Dataset:
    key = name.strip().lower().replace("_", "-")
    if key not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    return DATASETS[key]


def _download(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:
        return answer.read()
