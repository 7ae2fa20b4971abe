"""The image models by name. Listing them imports none.

Facts of a row: `cost`, how time grows with the number of pixels; `sizes`, the presets.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from statewise.core.config import config_class, from_dict
from statewise.core.registry import Entry, Registry, preset

if TYPE_CHECKING:
    from statewise.vision.models.image_model import ImageModel

__all__ = ["MODELS", "build", "check_name"]

_HERE = "statewise.vision.models"

MODELS = Registry(
    "image model",
    {
        "vig": Entry(
            target=f"{_HERE}.vig:ViG",
            summary="gated linear attention read both ways in one pass, with 3x3 locality; the default",
            paper="Liao et al., ViG: Linear-complexity Visual Sequence Learning with Gated Linear Attention",
            year=2024,
            facts={"cost": "linear", "sizes": ("nano", "micro", "t", "s", "b")},
        ),
        "vig-h": Entry(
            target=f"{_HERE}.vig_h:ViGH",
            summary="ViG in four stages of falling resolution",
            paper="Liao et al., ViG: Linear-complexity Visual Sequence Learning with Gated Linear Attention",
            year=2024,
            facts={"cost": "linear", "sizes": ("t", "s", "b")},
        ),
        "lightnet": Entry(
            target=f"{_HERE}.lightnet:LightNetVis",
            summary="one order-free pass of linear attention; all it knows of places comes from codes",
            paper="Qin et al., You Only Scan Once: Efficient Multi-dimension Sequential Modeling with "
            "LightNet",
            year=2024,
            facts={
                "cost": "linear",
                "sizes": ("nano", "nano-no-tpe", "nano-no-lrpe", "nano-rotary", "micro", "t", "s", "b"),
            },
        ),
        "plstm": Entry(
            target=f"{_HERE}.plstm:PLSTMVis",
            summary="matrix states along the edges of the grid from four corners; directions and lines",
            paper="Pöppel et al., pLSTM: parallelizable Linear Source Transition Mark networks",
            year=2025,
            facts={"cost": "linear above heads' width squared", "sizes": ("nano", "micro", "t", "s", "b")},
        ),
        "hydra-vision": Entry(
            target=f"{_HERE}.scanned:HydraVis",
            summary="Mamba-2 both ways as one quasiseparable mixer, over the tokens in raster order",
            paper="Hwang et al., Hydra: Bidirectional State Space Models Through Generalized Matrix Mixers",
            year=2024,
            facts={"cost": "linear", "sizes": ("nano", "micro", "t", "s")},
        ),
        "hgrn-vision": Entry(
            target=f"{_HERE}.scanned:HGRNVis",
            summary="gated complex recurrences both ways, whose memory lengthens with depth",
            paper="Qin, Yang and Zhong, Hierarchically Gated Recurrent Neural Network for Sequence Modeling",
            year=2023,
            facts={"cost": "linear", "sizes": ("nano", "micro", "t", "s")},
        ),
        "vit": Entry(
            target=f"{_HERE}.vit:ViT",
            summary="the attention baseline, with fused attention",
            paper="Dosovitskiy et al., An Image is Worth 16x16 Words",
            year=2021,
            facts={"cost": "quadratic", "sizes": ("nano", "micro", "t", "s", "b")},
        ),
        "cnn": Entry(
            target=f"{_HERE}.cnn:CNN",
            summary="the small convolutional baseline; hard to beat on a few hundred images",
            facts={"cost": "linear", "sizes": ("nano", "micro", "s")},
        ),
    },
    group=_HERE,
)
"""Every image model."""


def check_name(spec: str) -> tuple[str, dict[str, Any]]:
    """The name of `MODEL` or `MODEL-PRESET`, and the preset's settings.

    Raises:
        UnknownNameError: there is no such model or preset.
    """
    name, variant = MODELS.resolve(spec)
    model = MODELS.load(name)
    return name, preset(getattr(sys.modules[model.__module__], "presets", {}), variant, name)


def build(spec: str, **settings: Any) -> ImageModel:
    """A model with fresh weights from torch's default generator.

    Args:
        spec: `MODEL` or `MODEL-PRESET`.
        settings: fields of its configuration that override the preset's.

    Raises:
        UnknownNameError: there is no such model or preset.
        ConfigError: a setting is unknown or out of bounds.
    """
    name, own = check_name(spec)
    model = MODELS.load(name)
    return model(from_dict(config_class(model), own | settings, where=spec))
