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
        "aaren": Entry(
            target="statewise.core.layers.aaren:Aaren",
            summary="softmax attention of a learnt query over the past, as a recurrence",
            paper="Feng et al., Attention as an RNN",
            year=2024,
            facts={"ops": ("prefix_softmax",), "streaming": True},
        ),
        "attention": Entry(
            target="statewise.core.layers.attention:Attention",
            summary="causal softmax attention over a window: the yardstick",
            paper="Vaswani et al., Attention Is All You Need",
            year=2017,
            facts={"ops": (), "streaming": True},
        ),
        "chimera2d": Entry(
            target="statewise.core.layers.chimera2d:Chimera2D",
            summary="selective state space model over time and variates at once",
            paper="Behrouz et al., Chimera: Effectively Modeling Multivariate Time Series",
            year=2024,
            facts={"ops": ("scan2d_edges", "depthwise_conv"), "streaming": True},
        ),
        "chimera2d-companion": Entry(
            target="statewise.core.layers.chimera2d_companion:Chimera2DCompanion",
            summary="linear autoregressions over time, coupled along the variates",
            paper="Behrouz et al., Chimera: Effectively Modeling Multivariate Time Series",
            year=2024,
            facts={"ops": (), "streaming": True},
        ),
        "convs5": Entry(
            target="statewise.core.layers.convs5:ConvS5",
            summary="S5 over frames, with convolutions for its input and output maps",
            paper="Smith et al., Convolutional State Space Models for Long-Range Spatiotemporal Modeling",
            year=2023,
            facts={"ops": ("linear_scan",), "streaming": True},
        ),
        "delta-net": Entry(
            target="statewise.core.layers.delta_net:DeltaNet",
            summary="linear memory that writes only what it does not yet recall",
            paper="Yang et al., Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
            year=2024,
            facts={"ops": ("gated_delta_rule", "depthwise_conv"), "streaming": True},
        ),
        "delta-product": Entry(
            target="statewise.core.layers.delta_product:DeltaProduct",
            summary="several steps of the delta rule per token: tracks permutations and rotations",
            paper="Siems et al., DeltaProduct: Improving State-Tracking in Linear RNNs",
            year=2025,
            facts={"ops": ("gated_delta_rule", "depthwise_conv"), "streaming": True},
        ),
        "elman": Entry(
            target="statewise.core.layers.elman:Elman",
            summary="tanh of the input and the previous output",
            paper="Elman, Finding Structure in Time",
            year=1990,
            facts={"ops": ("rnn_scan",), "streaming": True},
        ),
        "fsmn": Entry(
            target="statewise.core.layers.fsmn:FSMN",
            summary="a learnt filter per channel behind a bottleneck",
            paper="Zhang et al., Deep-FSMN for Large Vocabulary Continuous Speech Recognition",
            year=2018,
            facts={"ops": ("depthwise_conv",), "streaming": True},
        ),
        "fsmn-complex": Entry(
            target="statewise.core.layers.fsmn:ComplexFSMN",
            summary="FSMN on complex features: two units as the parts of a product",
            paper="Zhao et al., FRCRN: Boosting Feature Representation using Frequency Recurrence",
            year=2022,
            facts={"ops": ("depthwise_conv",), "streaming": True},
        ),
        "gated-delta-net": Entry(
            target="statewise.core.layers.gated_delta_net:GatedDeltaNet",
            summary="the delta rule on a memory that also forgets, beside an output gate",
            paper="Yang et al., Gated Delta Networks: Improving Mamba2 with Delta Rule",
            year=2025,
            facts={"ops": ("gated_delta_rule", "depthwise_conv"), "streaming": True},
        ),
        "gateloop": Entry(
            target="statewise.core.layers.gateloop:GateLoop",
            summary="linear recurrence with a complex transition computed from the input",
            paper="Katsch, GateLoop: Fully Data-Controlled Linear Recurrence for Sequence Modeling",
            year=2023,
            facts={"ops": ("linear_scan",), "streaming": True},
        ),
        "gla": Entry(
            target="statewise.core.layers.gla:GLA",
            summary="linear attention whose every key forgets at its own, computed rate",
            paper="Yang et al., Gated Linear Attention Transformers with Hardware-Efficient Training",
            year=2024,
            facts={"ops": ("gated_linear_attention",), "streaming": True},
        ),
        "gru": Entry(
            target="statewise.core.layers.gru:GRU",
            summary="one state that a gate keeps or replaces; loads the weights of torch's",
            paper="Cho et al., Learning Phrase Representations using RNN Encoder-Decoder",
            year=2014,
            facts={"ops": ("rnn_scan",), "streaming": True},
        ),
        "hgrn": Entry(
            target="statewise.core.layers.hgrn:HGRN",
            summary="gated complex recurrence, its forget gate bounded below by depth",
            paper="Qin et al., Hierarchically Gated Recurrent Neural Network",
            year=2023,
            facts={"ops": ("linear_scan",), "streaming": True},
        ),
        "hgrn2": Entry(
            target="statewise.core.layers.hgrn2:HGRN2",
            summary="a matrix of gated running averages, their gates bounded below by depth",
            paper="Qin et al., HGRN2: Gated Linear RNNs with State Expansion",
            year=2024,
            facts={"ops": ("gated_linear_attention",), "streaming": True},
        ),
        "hydra": Entry(
            target="statewise.core.layers.hydra:Hydra",
            summary="Mamba-2 read both ways, with a diagonal of its own",
            paper="Hwang et al., Hydra: Bidirectional State Space Models Through Generalized Matrix Mixers",
            year=2024,
            facts={"ops": ("gated_linear_attention", "depthwise_conv"), "streaming": False},
        ),
        "lem": Entry(
            target="statewise.core.layers.lem:LEM",
            summary="two coupled states with learnt, input-dependent time scales",
            paper="Rusch et al., Long Expressive Memory for Sequence Modeling",
            year=2022,
            facts={"ops": (), "streaming": True},
        ),
        "lightnet": Entry(
            target="statewise.core.layers.lightnet:LightNet",
            summary="linear attention whose memory is a softmax over the past, per key",
            paper="Qin et al., You Only Scan Once: Efficient Multi-dimension Sequential Modeling",
            year=2024,
            facts={"ops": ("gated_linear_attention", "linear_scan"), "streaming": True},
        ),
        "lightnet-order-free": Entry(
            target="statewise.core.layers.lightnet:OrderFreeLightNet",
            summary="LightNet over whole sequences, the same for any order of the steps",
            paper="Qin et al., You Only Scan Once: Efficient Multi-dimension Sequential Modeling",
            year=2024,
            facts={"ops": ("gated_linear_attention", "linear_scan"), "streaming": False},
        ),
        "lru": Entry(
            target="statewise.core.layers.lru:LRU",
            summary="diagonal complex recurrence on a ring inside the unit circle",
            paper="Orvieto et al., Resurrecting Recurrent Neural Networks for Long Sequences",
            year=2023,
            facts={"ops": ("linear_scan",), "streaming": True, "timed": True},
        ),
        "lssl": Entry(
            target="statewise.core.layers.lssl:LSSL",
            summary="a dense state matrix shared by all features, a step for each of them",
            paper="Gu et al., Combining Recurrent, Convolutional, and Continuous-time Models",
            year=2021,
            facts={"ops": ("krylov_kernel", "depthwise_conv"), "streaming": True},
        ),
        "lstm": Entry(
            target="statewise.core.layers.lstm:LSTM",
            summary="a cell that gates keep, write and read; loads the weights of torch's",
            paper="Hochreiter and Schmidhuber, Long Short-Term Memory",
            year=1997,
            facts={"ops": ("rnn_scan",), "streaming": True},
        ),
        "mamba": Entry(
            target="statewise.core.layers.mamba:Mamba",
            summary="diagonal state space per channel, all but its rates computed from the input",
            paper="Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
            year=2023,
            facts={"ops": ("selective_scan", "depthwise_conv"), "streaming": True, "timed": True},
        ),
        "mamba2": Entry(
            target="statewise.core.layers.mamba2:Mamba2",
            summary="linear attention with a computed decay per head",
            paper="Dao and Gu, Transformers are SSMs: Structured State Space Duality",
            year=2024,
            facts={"ops": ("gated_linear_attention", "depthwise_conv"), "streaming": True},
        ),
        "mamba3": Entry(
            target="statewise.core.layers.mamba3:Mamba3",
            summary="Mamba-2 with a trapezoidal step, a rotating state and several inputs per head",
            paper="Lahoti et al., Mamba-3: Improved Sequence Modeling using State Space Principles",
            year=2026,
            facts={"ops": ("gated_linear_attention", "linear_scan"), "streaming": True},
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
        "pararnn": Entry(
            target="statewise.core.layers.pararnn:ParaRNN",
            summary="GRU and LSTM with diagonal recurrent weights, solvable in parallel",
            paper="Danieli et al., ParaRNN: Unlocking Parallel Training of Nonlinear RNNs",
            year=2025,
            facts={"ops": ("rnn_scan",), "streaming": True},
        ),
        "pgn": Entry(
            target="statewise.core.layers.pgn:PGN",
            summary="one linear look at the last inputs, gated against the present one",
            paper="Jia et al., PGN: The RNN's New Successor",
            year=2024,
            facts={"ops": (), "streaming": True},
        ),
        "plstm": Entry(
            target="statewise.core.layers.plstm:PLSTM",
            summary="linear attention with gates on the edges between steps",
            paper="Pöppel et al., pLSTM: parallelizable Linear Source Transition Mark networks",
            year=2025,
            facts={"ops": ("linear_scan",), "streaming": True},
        ),
        "plstm2d": Entry(
            target="statewise.core.layers.plstm2d:PLSTM2D",
            summary="pLSTM over a grid, read from all four corners",
            paper="Pöppel et al., pLSTM: parallelizable Linear Source Transition Mark networks",
            year=2025,
            facts={"ops": ("path_weights", "scan2d_matrix"), "streaming": False, "reset": False},
        ),
        "retnet": Entry(
            target="statewise.core.layers.retnet:RetNet",
            summary="retention: constant decays per head, rotating queries and keys",
            paper="Sun et al., Retentive Network: A Successor to Transformer for Large Language Models",
            year=2023,
            facts={"ops": ("gated_linear_attention",), "streaming": True},
        ),
        "rglru": Entry(
            target="statewise.core.layers.rglru:RGLRU",
            summary="Griffin's recurrent block: short convolution and gated real LRU",
            paper="De et al., Griffin: Mixing Gated Linear Recurrences with Local Attention",
            year=2024,
            facts={"ops": ("linear_scan", "depthwise_conv"), "streaming": True},
        ),
        "s4": Entry(
            target="statewise.core.layers.s4:S4",
            summary="HiPPO-LegS per feature, as a diagonal plus a rank-one matrix",
            paper="Gu et al., Efficiently Modeling Long Sequences with Structured State Spaces",
            year=2022,
            facts={"ops": ("s4_kernel", "depthwise_conv"), "streaming": True},
        ),
        "s4d": Entry(
            target="statewise.core.layers.s4d:S4D",
            summary="one diagonal complex state space model per feature",
            paper="Gu et al., On the Parameterization and Initialization of Diagonal State Space Models",
            year=2022,
            facts={"ops": ("s4d_kernel", "linear_scan", "depthwise_conv"), "streaming": True},
        ),
        "s5": Entry(
            target="statewise.core.layers.s5:S5",
            summary="diagonal complex state space model with HiPPO-N eigenvalues",
            paper="Smith et al., Simplified State Space Layers for Sequence Modeling",
            year=2023,
            facts={"ops": ("linear_scan",), "streaming": True, "timed": True},
        ),
        "s5-bidirectional": Entry(
            target="statewise.core.layers.s5:BidirectionalS5",
            summary="S5 run both ways over whole sequences, one output map for both states",
            paper="Smith et al., Simplified State Space Layers for Sequence Modeling",
            year=2023,
            facts={"ops": ("linear_scan",), "streaming": False},
        ),
        "slstm": Entry(
            target="statewise.core.layers.slstm:SLSTM",
            summary="LSTM with exponential gates, a normaliser and block-diagonal heads",
            paper="Beck et al., xLSTM: Extended Long Short-Term Memory",
            year=2024,
            facts={"ops": ("rnn_scan",), "streaming": True},
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
