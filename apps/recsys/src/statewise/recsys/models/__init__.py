"""All methods by name, found without importing them: encoders, presets, counting methods."""

from __future__ import annotations

from statewise.core.registry import Entry, Registry

__all__ = ["BASELINES", "MODELS"]

_NETWORK = "statewise.recsys.network.model:Network"


def _network(summary: str, paper: str = "", year: int | None = None, family: str = "encoder") -> Entry:
    return Entry(target=_NETWORK, summary=summary, paper=paper, year=year, facts={"family": family})


def _count(target: str, summary: str, paper: str = "", year: int | None = None) -> Entry:
    return Entry(
        target=f"statewise.recsys.models.{target}",
        summary=summary,
        paper=paper,
        year=year,
        facts={"family": "counting"},
    )


def _layer(name: str, paper: str, year: int) -> Entry:
    return _network(f"recurrent: a stack of core's '{name}' blocks, a state per user", paper, year)


MODELS = Registry(
    "recommender",
    {
        "causal": _network("attention to the past, next item at every place: the default"),
        "bidir": _network("attention both ways, masked items: slower to learn than causal"),
        "gru": _layer("gru", "Cho et al., Learning Phrase Representations using RNN Encoder-Decoder", 2014),
        "lstm": _layer("lstm", "Hochreiter and Schmidhuber, Long Short-Term Memory", 1997),
        "lru": _layer("lru", "Orvieto et al., Resurrecting Recurrent Neural Networks", 2023),
        "s5": _layer("s5", "Smith et al., Simplified State Space Layers for Sequence Modeling", 2023),
        "mamba": _layer("mamba", "Gu and Dao, Mamba", 2023),
        "mamba2": _layer("mamba2", "Dao and Gu, Transformers are SSMs", 2024),
        "min-gru": _layer("min-gru", "Feng et al., Were RNNs All We Needed?", 2024),
        "hgrn": _layer("hgrn", "Qin et al., Hierarchically Gated Recurrent Neural Network", 2023),
        "hgrn2": _layer("hgrn2", "Qin et al., HGRN2", 2024),
        "gla": _layer("gla", "Yang et al., Gated Linear Attention Transformers", 2024),
        "retnet": _layer("retnet", "Sun et al., Retentive Network", 2023),
        "delta-net": _layer("delta-net", "Yang et al., Parallelizing Linear Transformers", 2024),
        "gated-delta-net": _layer("gated-delta-net", "Yang et al., Gated Delta Networks", 2025),
        "hybrid": _network("three recurrent blocks (gla), then one of attention"),
        "sasrec": _network(
            "causal attention, one negative (BCE)",
            "Kang and McAuley, Self-Attentive Sequential Recommendation",
            2018,
            "preset",
        ),
        "sasrec-plus": _network(
            "causal attention, full cross-entropy",
            "Klenitskiy and Vasilev, Turning Dross Into Gold Loss: is BERT4Rec really better than SASRec?",
            2023,
            "preset",
        ),
        "gsasrec": _network(
            "causal attention, 256 negatives, calibrated (gBCE)",
            "Petrov and Macdonald, gSASRec",
            2023,
            "preset",
        ),
        "bert4rec": _network("attention both ways, masked items", "Sun et al., BERT4Rec", 2019, "preset"),
        "gru4rec": _network(
            "a GRU, softmax over other targets of the batch",
            "Hidasi et al., Session-based Recommendations with Recurrent Neural Networks",
            2016,
            "preset",
        ),
        "lrurec": _network(
            "linear recurrent units, full cross-entropy",
            "Yue et al., Linear Recurrent Units for Sequential Recommendation",
            2024,
            "preset",
        ),
        "mamba4rec": _network("a Mamba block, full cross-entropy", "Liu et al., Mamba4Rec", 2024, "preset"),
        "popularity": _count("counts:Popularity", "training events of the item, the same list for all"),
        "recent": _count("counts:RecentPopularity", "popularity with a half-life of a week"),
        "personal": _count("counts:Personal", "what the user takes most often, then popularity"),
        "markov": _count("markov:Markov", "what comes after what, the last ten items vote"),
        "ease": _count(
            "neighbours:EASE",
            "linear item-to-item weights in closed form, recent items count more",
            "Steck, Embarrassingly Shallow Autoencoders for Sparse Data",
            2019,
        ),
        "itemknn": _count(
            "neighbours:ItemKNN",
            "nearest items by shrunk cosine, recent items count more",
            "Sarwar et al., Item-based Collaborative Filtering Recommendation Algorithms",
            2001,
        ),
    },
    group="statewise.recsys.models",
)

BASELINES = ("popularity", "recent", "personal", "markov", "ease", "itemknn")
"""Methods that stand beside every model in every report."""
