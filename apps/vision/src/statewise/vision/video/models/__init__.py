"""The video models by name. Listing them imports none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from statewise.core.config import config_class, from_dict
from statewise.core.registry import Entry, Registry, preset

if TYPE_CHECKING:
    from statewise.vision.video.models.frame_model import FrameModel

__all__ = ["VIDEO_MODELS", "build_video", "check_video_name"]

_HERE = "statewise.vision.video.models"

VIDEO_MODELS = Registry(
    "video model",
    {
        "convs5": Entry(
            target=f"{_HERE}.convs5:ConvS5Video",
            summary="convolutional state spaces: parallel in training, streaming afterwards",
            paper="Smith et al., Convolutional State Space Models for Long-Range Spatiotemporal Modeling",
            year=2023,
        ),
        "convlstm": Entry(
            target=f"{_HERE}.convlstm:ConvLSTM",
            summary="the recurrent baseline, frame by frame",
            paper="Shi et al., Convolutional LSTM Network",
            year=2015,
        ),
        "fernn": Entry(
            target=f"{_HERE}.fernn:FERNN",
            summary="equivariant to motion by whole pixels; exact on frames that wrap around",
            paper="Keller, Flow Equivariant Recurrent Neural Networks",
            year=2025,
        ),
        "pfgnet": Entry(
            target=f"{_HERE}.pfgnet:PFGNet",
            summary="convolutions over a window of frames, large kernels chosen by local frequency",
            paper="Cai et al., PFGNet: A Fully Convolutional Frequency-Guided Peripheral Gating Network",
            year=2026,
        ),
    },
    group=_HERE,
)
"""Every video model."""


def check_video_name(spec: str) -> tuple[str, dict[str, Any]]:
    """The name of `MODEL` or `MODEL-PRESET`, and the preset's settings.

    Raises:
        UnknownNameError: there is no such model or preset.
    """
    name, variant = VIDEO_MODELS.resolve(spec)
    model = VIDEO_MODELS.load(name)
    return name, preset(getattr(sys.modules[model.__module__], "presets", {}), variant, name)


def build_video(spec: str, **settings: Any) -> FrameModel:
    """A model with fresh weights from torch's default generator.

    Args:
        spec: `MODEL` or `MODEL-PRESET`.
        settings: fields of its configuration that override the preset's.

    Raises:
        UnknownNameError: there is no such model or preset.
    """
    name, own = check_video_name(spec)
    model = VIDEO_MODELS.load(name)
    return model(from_dict(config_class(model), own | settings, where=spec))
