"""Every recommender has a page, and the page says where it is from."""

from __future__ import annotations

from pathlib import Path

import pytest

from statewise.recsys.models import MODELS
from statewise.recsys.recipes import PRESETS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "models"
ATTENTION = {"causal", "sasrec", "sasrec-plus", "gsasrec"}


def page_of(name: str) -> Path:
    if MODELS[name].facts["family"] == "counting":
        return PAGES / "recsys_counting.md"
    if name in ATTENTION:
        return PAGES / "recsys_causal.md"
    return PAGES / ("recsys_bidir.md" if name in ("bidir", "bert4rec") else "recsys_recurrent.md")


@pytest.mark.parametrize("name", MODELS)
def test_a_recommender_has_a_page(name: str):
    text = page_of(name).read_text(encoding="utf-8")
    assert name in text
    entry = MODELS[name]
    if entry.year is not None:
        assert str(entry.year) in text


def test_every_preset_is_listed():
    assert {name for name in MODELS if MODELS[name].facts["family"] == "preset"} == set(PRESETS)
