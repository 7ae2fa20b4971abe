"""The public data sets that `forecast data` names."""

from __future__ import annotations

from statewise.core.datasets import Dataset

__all__ = ["DATASETS"]

_ETT = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small"
_NAB = "https://raw.githubusercontent.com/numenta/NAB/master/data"
_LSTNET = "https://raw.githubusercontent.com/laiguokun/multivariate-time-series-data/master"
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
