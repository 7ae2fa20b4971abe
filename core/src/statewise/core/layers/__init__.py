"""Sequence layers behind one contract (see `contract`), found by name without importing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statewise.core import config
from statewise.core.registry import Entry, Registry

if TYPE_CHECKING:
    from statewise.core.layers.contract import Layer

__all__ = ["LAYERS", "build"]

LAYERS = Registry(
    "layer",
    {
        "lru": Entry(
            target="statewise.core.layers.lru:LRU",
            summary="diagonal complex recurrence on a ring inside the unit circle",
            paper="Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences",
            year=2023,
            facts={"ops": ("linear_scan",), "streaming": True},
        ),
        "min-gru": Entry(
            target="statewise.core.layers.min_gru:MinGRU",
            summary="GRU whose gate reads only the input: a gated running average",
            paper="Feng et al., Were RNNs All We Needed?",
            year=2024,
            facts={"ops": ("linear_scan",), "streaming": True},
        ),
        "min-lstm": Entry(
            target="statewise.core.layers.min_lstm:MinLSTM",
            summary="LSTM whose gates read only the input and add up to one",
            paper="Feng et al., Were RNNs All We Needed?",
            year=2024,
            facts={"ops": ("linear_scan",), "streaming": True},
        ),
        "pgn": Entry(
            target="statewise.core.layers.pgn:PGN",
            summary="one linear look at the last inputs, gated against the present one",
            paper="Jia et al., PGN: The RNN's New Successor is Effective for Long-Range Forecasting",
            year=2024,
            facts={"ops": (), "streaming": True},
        ),
        "s5": Entry(
            target="statewise.core.layers.s5:S5",
            summary="diagonal complex state space model with HiPPO-N eigenvalues",
            paper="Smith et al., Simplified State Space Layers for Sequence Modeling",
            year=2023,
            facts={"ops": ("linear_scan",), "streaming": True},
        ),
        "s5-bidirectional": Entry(
            target="statewise.core.layers.s5:BidirectionalS5",
            summary="S5 run both ways over whole sequences, one output map for both states",
            paper="Smith et al., Simplified State Space Layers for Sequence Modeling",
            year=2023,
            facts={"ops": ("linear_scan",), "streaming": False},
        ),
    },
    group="statewise.core.layers",
)


def build(name: str, **settings: Any) -> Layer[Any]:
    """A layer by name: `build("s5", d_model=64, d_state=32)`.

    Args:
        name: a name of `LAYERS`.
        settings: fields of the layer's configuration; the others keep their defaults.

    Raises:
        UnknownNameError: for a name that is in no row, with the nearest one.
        ConfigError: for a setting that is unknown, of the wrong type or out of bounds.
    """
    layer = LAYERS.load(name)
    return layer(config.from_dict(config.config_class(layer), settings, where=f"layer {name}"))
