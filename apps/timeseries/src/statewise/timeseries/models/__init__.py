"""The forecasting methods by name. Listing them imports none.

Facts of a row: `family` (naive, linear, statistical, neural or combination); `rank`, the order in which
simplicity decides between methods that are equally good, and in which `auto` tries them. A method that is
fitted anew at every origin says about what that costs: `start_seconds` once, to import its `library`;
`fit_seconds` for each fit to `full_length` steps with a season of up to 24. A `joint` method reads all
series together.
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
        "linear": Entry(
            target=f"{_HERE}.ltsf_linear:Linear",
            summary="a linear map of the recent past, in closed form; for series whose level stays",
            paper="Zeng et al., Are Transformers Effective for Time Series Forecasting?",
            year=2023,
            facts={"family": "linear", "rank": 5},
        ),
        "theta": Entry(
            target=f"{_HERE}.statistical:Theta",
            summary="dynamic optimised theta method, refitted at every origin; good on short series",
            paper="Fiorucci et al., Models for optimising the theta method and their relationship to state "
            "space models",
            year=2016,
            facts={"family": "statistical", "rank": 6, "fit_seconds": 0.02} | _STATSFORECAST,
        ),
        "ets": Entry(
            target=f"{_HERE}.statistical:ETS",
            summary="exponential smoothing, its form chosen by information criterion at every origin",
            paper="Hyndman et al., A state space framework for automatic forecasting using exponential "
            "smoothing methods",
            year=2002,
            facts={"family": "statistical", "rank": 7, "fit_seconds": 0.2} | _STATSFORECAST,
        ),
        "ar-net": Entry(
            target=f"{_HERE}.ar_net:ARNetForecaster",
            summary="autoregression by gradient descent; `forecast explain` prints its lags",
            paper="Triebe et al., AR-Net: A simple Auto-Regressive Neural Network for time-series",
            year=2019,
            facts={"family": "neural", "rank": 8},
        ),
        "tpgn": Entry(
            target=f"{_HERE}.tpgn:TPGNForecaster",
            summary="parallel gated network over rows of one season each",
            paper="Jia et al., PGN: The RNN's New Successor is Effective for Long-Range Time Series "
            "Forecasting",
            year=2024,
            facts={"family": "neural", "rank": 9},
        ),
        "es-rnn": Entry(
            target=f"{_HERE}.es_rnn:ESRNNForecaster",
            summary="exponential smoothing and a recurrence on what it leaves",
            paper="Smyl, A hybrid method of exponential smoothing and recurrent neural networks",
            year=2020,
            facts={"family": "neural", "rank": 10},
        ),
        "lru": Entry(
            target=f"{_HERE}.recurrent:LRUForecaster",
            summary="patches of each series read by linear recurrent units",
            paper="Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences",
            year=2023,
            facts={"family": "neural", "rank": 11},
        ),
        "s5": Entry(
            target=f"{_HERE}.recurrent:S5Forecaster",
            summary="patches of each series read by a diagonal state space model",
            paper="Smith et al., Simplified State Space Layers for Sequence Modeling",
            year=2023,
            facts={"family": "neural", "rank": 12},
        ),
        "gla": Entry(
            target=f"{_HERE}.recurrent:GLAForecaster",
            summary="patches of each series read by gated linear attention",
            paper="Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training",
            year=2024,
            facts={"family": "neural", "rank": 13},
        ),
        "mamba": Entry(
            target=f"{_HERE}.recurrent:MambaForecaster",
            summary="patches of each series read by selective state spaces",
            paper="Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
            year=2023,
            facts={"family": "neural", "rank": 14},
        ),
        "patchtst": Entry(
            target=f"{_HERE}.patchtst:PatchTSTForecaster",
            summary="self-attention over patches of each series: a yardstick",
            paper="Nie et al., A Time Series is Worth 64 Words: Long-term Forecasting with Transformers",
            year=2023,
            facts={"family": "neural", "rank": 15},
        ),
        "mes-lstm": Entry(
            target=f"{_HERE}.es_rnn:MESLSTMForecaster",
            summary="exponential smoothing of each series, one recurrence over all of them",
            paper="Mathonsi and van Zyl, A Statistics and Deep Learning Hybrid Method",
            year=2021,
            facts={"family": "neural", "rank": 16, "joint": True},
        ),
        "lstnet": Entry(
            target=f"{_HERE}.lstnet:LSTNetForecaster",
            summary="convolution over all series, recurrences over steps and seasons",
            paper="Lai et al., Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks",
            year=2018,
            facts={"family": "neural", "rank": 17, "joint": True},
        ),
        "itransformer": Entry(
            target=f"{_HERE}.itransformer:ITransformerForecaster",
            summary="self-attention between series: a yardstick",
            paper="Liu et al., iTransformer: Inverted Transformers Are Effective for Time Series Forecasting",
            year=2024,
            facts={"family": "neural", "rank": 18, "joint": True},
        ),
        "chimera": Entry(
            target=f"{_HERE}.chimera:ChimeraForecaster",
            summary="state space models over time and series at once",
            paper="Behrouz et al., Chimera: Effectively Modeling Multivariate Time Series",
            year=2024,
            facts={"family": "neural", "rank": 19, "joint": True},
        ),
        "blend": Entry(
            target=f"{_HERE}.blend:Blend",
            summary="the weighted mean of several methods; `auto` finds the weights",
            paper="Bates and Granger, The Combination of Forecasts",
            year=1969,
            facts={"family": "combination", "rank": 20},
        ),
    },
    group=_HERE,
)
"""Every forecasting method."""
