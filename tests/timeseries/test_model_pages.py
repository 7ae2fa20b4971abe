"""Every forecasting method has a page, and the page says where it is from."""

from __future__ import annotations

from pathlib import Path

import pytest

from statewise.timeseries.models import MODELS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "models"
SHARED = {"seasonal-naive": "naive", "drift": "naive", "theta": "statistical", "ets": "statistical"} | {
    "lru": "recurrent", "s5": "recurrent", "gla": "recurrent", "mamba": "recurrent", "mes-lstm": "es_rnn"
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_method_has_a_page(name: str):
    page = PAGES / f"{SHARED.get(name, name).replace('-', '_')}.md"
    assert page.is_file(), f"write docs/models/{page.name}: equation, shapes, what differs from the paper"
    text = page.read_text(encoding="utf-8")
    assert name in text
    entry = MODELS[name]
    if entry.year is not None:
        assert str(entry.year) in text
