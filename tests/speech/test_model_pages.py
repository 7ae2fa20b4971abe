"""Every model has a page that says where it is from and how large it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from statewise.speech.models import MODELS, build

PAGES = Path(__file__).resolve().parents[2] / "docs" / "models"
SHARED = dict.fromkeys(("noisy", "gating", "wiener"), "speech_baselines")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_a_page(name: str):
    text = (PAGES / f"{SHARED.get(name, name).replace('-', '_')}.md").read_text(encoding="utf-8")
    assert name in text
    entry = MODELS[name]
    if entry.year is not None:
        assert str(entry.year) in text


@pytest.mark.parametrize(
    "name",
    [
        *("frcrn-tiny", "frcrn-tiny-causal", "frcrn-small-causal", "mossformer2-tiny"),
        *("recurrent-mask-gru", "band-split-small", "band-split-tiny"),
    ],
)
def test_the_page_knows_the_size_of_a_preset(name: str):
    entry, model = build(name)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    page = (PAGES / f"{entry.replace('-', '_')}.md").read_text(encoding="utf-8")
    assert f"{parameters:,}" in page
