"""The `vision video` program."""

from __future__ import annotations

from statewise.core.cli.app import App
from statewise.vision import __version__

__all__ = ["video_app"]

video_app = App("vision video", summary="Predict the next frames of clips.", version=__version__)
