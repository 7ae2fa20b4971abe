"""The generated end of every layer's page is what registry, settings and measurements make."""

from __future__ import annotations

import pytest

from benchmarks.core.layer_pages import CHOICE, MARK, chosen, page_of, rendered, written_rows
from statewise.core.layers import LAYERS

ROWS = {row["layer"]: row for row in written_rows()}
NAMES = [name for name, entry in LAYERS.entries().items() if entry.origin == "statewise"]


@pytest.mark.parametrize("name", NAMES)
def test_generated_part_is_fresh(name: str):
    assert name in ROWS, "run python -m benchmarks.core.layers"
    page = page_of(name).read_text(encoding="utf-8")
    assert page.count(MARK) == 1
    assert page == rendered(page, ROWS[name]), "run python -m benchmarks.core.layer_pages"


def test_what_is_written_by_hand_is_kept():
    page = rendered("# a layer\n\nBy hand.\n", ROWS["gru"])
    assert page.startswith("# a layer\n\nBy hand.\n\n" + MARK)
    assert rendered(page, ROWS["gru"]) == page


def test_page_on_choosing_is_fresh():
    page = CHOICE.read_text(encoding="utf-8")
    assert page == chosen(page), "run python -m benchmarks.core.layer_pages"
    assert all(f"[{name}](layers/" in page for name in NAMES)


def test_page_on_choosing_names_layers_that_exist():
    by_hand = CHOICE.read_text(encoding="utf-8").partition(MARK)[0]
    table = by_hand.partition("|---|")[2].partition("**Time")[0]
    named = {word for line in table.splitlines() for word in line.split("|")[2:3]}
    words = {name.strip("` ") for cell in named for name in cell.split("`")[1::2]}
    assert words - {"Bidirectional"} <= set(NAMES)
