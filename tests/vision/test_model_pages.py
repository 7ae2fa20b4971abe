"""Every image and video model has a page that names it, and a row that says where it is from."""

from __future__ import annotations

from pathlib import Path

import pytest

from statewise.vision.models import MODELS
from statewise.vision.video.models import VIDEO_MODELS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "models"
SHARED = {
    "vig-h": "vig",
    "hydra-vision": "scanned",
    "hgrn-vision": "scanned",
    "vit": "image_baselines",
    "cnn": "image_baselines",
    **dict.fromkeys(VIDEO_MODELS, "video"),
}


@pytest.mark.parametrize("name", [*MODELS, *VIDEO_MODELS])
def test_a_model_has_a_page(name: str):
    page = PAGES / f"{SHARED.get(name, name)}.md"
    assert page.is_file(), f"write docs/models/{page.name}: equation, shapes, what differs from the paper"
    text = page.read_text(encoding="utf-8")
    assert name in text
    entry = MODELS[name] if name in MODELS else VIDEO_MODELS[name]
    if entry.year is not None:
        assert str(entry.year) in text


def test_the_pages_print_the_sizes_of_the_models():
    import torch

    from statewise.vision.macs import parameter_count
    from statewise.vision.models import build

    for page, names in {
        "vig": ("vig-t", "vig-s", "vig-b"),
        "plstm": ("plstm-t", "plstm-s", "plstm-b"),
        "scanned": ("hydra-vision-t", "hgrn-vision-t"),
    }.items():
        text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
        for name in names:
            with torch.device("meta"):
                assert f"{parameter_count(build(name)):,}" in text
