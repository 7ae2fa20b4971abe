"""The forecasting methods by name. Listing them imports none.

Facts of a row: `family` (naive, linear, statistical or neural); `rank`, the order in which simplicity
decides between methods that are equally good, and in which `auto` tries them. A method that is fitted anew at
every origin says about what that costs: `start_seconds` once, to import its `library`; `fit_seconds` for
each fit to `full_length` steps with a season of up to 24.
"""

from __future__ import annotations

from statewise.core.registry import Entry, Registry

__all__ = ["MODELS"]

_HERE = "statewise.timeseries.models"
_STATSFORECAST = {"library": "statsforecast", "start_seconds": 8.0, "full_length": 240}

MODELS = Registry(
    "forecasting model",
    {
        "naive": Entry(
            target=f"{_HERE}.naive:Naive",
            summary="repeats the last value",
            facts={"family": "naive", "rank": 0},
        ),
        "seasonal-naive": Entry(
            target=f"{_HERE}.naive:SeasonalNaive",
            summary="repeats the last season",
            facts={"family": "naive", "rank": 1},
        ),
        "drift": Entry(
            target=f"{_HERE}.naive:Drift",
            summary="continues the straight line from the first to the last value",
            facts={"family": "naive", "rank": 2},
        ),
        "nlinear": Entry(
            target=f"{_HERE}.nlinear:NLinear",
            summary="a linear map of the recent past less its last value, in closed form",
            paper="Zeng et al., Are Transformers Effective for Time Series Forecasting?",
            year=2023,
            facts={"family": "linear", "rank": 3},
        ),
        "dlinear": Entry(
            target=f"{_HERE}.dlinear:DLinear",
            summary="linear maps of a moving average and of what it leaves, in closed form",
            paper="Zeng et al., Are Transformers Effective for Time Series Forecasting?",
            year=2023,
            facts={"family": "linear", "rank": 4},
        ),
        "theta": Entry(
            target=f"{_HERE}.statistical:Theta",
            summary="dynamic optimised theta method, refitted at every origin; good on short series",
            paper="Fiorucci et al., Models for optimising the theta method and their relationship to state "
            "space models",
            year=2016,
            facts={"family": "statistical", "rank": 5, "fit_seconds": 0.02} | _STATSFORECAST,
        ),
        "ets": Entry(
            target=f"{_HERE}.statistical:ETS",
            summary="exponential smoothing, its form chosen by information criterion at every origin",
            paper="Hyndman et al., A state space framework for automatic forecasting using exponential "
            "smoothing methods",
            year=2002,
            facts={"family": "statistical", "rank": 6, "fit_seconds": 0.2} | _STATSFORECAST,
        ),
        "tpgn": Entry(
            target=f"{_HERE}.tpgn:TPGNForecaster",
            summary="parallel gated network over rows of one season each",
            paper="Jia et al., PGN: The RNN's New Successor is Effective for Long-Range Time Series "
            "Forecasting",
            year=2024,
            facts={"family": "neural", "rank": 7},
        ),
    },
    group=_HERE,
)
"""Every forecasting method."""
