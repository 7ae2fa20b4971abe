"""The models by name. Reading the table imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from statewise.core.registry import Entry, Registry, preset

if TYPE_CHECKING:
    from torch import nn

__all__ = ["DEFAULT", "MODELS", "build"]

DEFAULT = "recurrent-mask-gru"
"""What is taken by itself: a model with weights in the package."""

MODELS = Registry(
    "speech model",
    {
        "noisy": Entry(
            target="statewise.speech.models.noisy:Noisy",
            summary="the input as it is: what everything else has to beat",
            facts={"family": "baseline", "does": "enhance", "streaming": "yes"},
        ),
        "gating": Entry(
            target="statewise.speech.models.gating:SpectralGating",
            summary="mutes bins that do not stand out from their own mean level",
            facts={"family": "baseline", "does": "enhance", "streaming": "no"},
        ),
        "wiener": Entry(
            target="statewise.speech.models.wiener:Wiener",
            summary="decision-directed Wiener filter over a tracked noise floor",
            paper="Ephraim and Malah; Gerkmann and Hendriks",
            year=2012,
            facts={"family": "baseline", "does": "enhance", "streaming": "yes"},
        ),
        "frcrn": Entry(
            target="statewise.speech.models.frcrn:FRCRN",
            summary="complex U-Nets with memory over frequency; causal presets stream",
            paper="Zhao et al., FRCRN",
            year=2022,
            facts={
                "family": "U-Net",
                "does": "enhance",
                "streaming": "causal presets",
                "presets": "tiny, small, medium, released; -causal",
            },
        ),
        "recurrent-mask": Entry(
            target="statewise.speech.models.recurrent_mask:RecurrentMask",
            summary="a gain per bin from gru, lru, mamba or any layer that streams",
            paper="after Braun and Tashev, NSNet2",
            year=2020,
            facts={
                "family": "recurrent",
                "does": "enhance",
                "streaming": "yes",
                "presets": "gru, lru, mamba, tiny",
            },
        ),
        "band-split": Entry(
            target="statewise.speech.models.band_split:BandSplit",
            summary="a complex filter per bin: one recurrence shared by all bands, one over all of them",
            paper="after Luo and Yu, Music source separation with band-split RNN",
            year=2023,
            facts={"family": "recurrent", "does": "enhance", "streaming": "yes", "presets": "small, tiny"},
        ),
        "mossformer2": Entry(
            target="statewise.speech.models.mossformer2:MossFormer2",
            summary="separates speakers in the time domain: gated attention and gated memory",
            paper="Zhao et al., MossFormer2",
            year=2024,
            facts={
                "family": "attention",
                "does": "separate",
                "streaming": "no",
                "presets": "tiny, small, three-speakers",
            },
        ),
    },
    group="statewise.speech.models",
)


def build(spec: str, changes: dict[str, Any] | None = None) -> tuple[str, nn.Module]:
    """A new model called `MODEL` or `MODEL-PRESET`, with some settings changed; its name and itself."""
    from statewise.core.config import config_class, from_dict

    name, chosen = MODELS.resolve(spec)
    cls = MODELS.load(name)
    values = preset(getattr(cls, "presets", {}), chosen, name) | (changes or {})
    return name, cls(from_dict(config_class(cls), values, where=name))
