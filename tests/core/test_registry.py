"""Registries: lazy, open to others, helpful about a wrong name."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest

from statewise.core import registry
from statewise.core.errors import UnknownNameError, UserError
from statewise.core.registry import Entry, Registry, canonical, preset


def entry(target: str = "collections:OrderedDict", **facts) -> Entry:
    return Entry(target=target, summary="s", facts=facts)


@pytest.fixture
def table() -> Registry:
    return Registry(
        "model", {"es": entry(), "es-rnn": entry("fractions:Fraction"), "tpgn": entry("no.such:Thing")}
    )


def third_party(monkeypatch, *points: tuple[str, str]) -> None:
    found = metadata.EntryPoints(
        metadata.EntryPoint(name, value, "statewise.models") for name, value in points
    )
    monkeypatch.setattr(registry.metadata, "entry_points", lambda *, group: found.select(group=group))


def test_listing_imports_nothing_and_load_imports_the_target(table, monkeypatch):
    monkeypatch.delitem(sys.modules, "fractions", raising=False)
    assert list(table) == ["es", "es-rnn", "tpgn"]
    assert len(table) == 3
    assert "fractions" not in sys.modules
    assert table.load("es-rnn").__name__ == "Fraction"


def test_names_are_found_in_any_spelling(table):
    assert "ES_RNN" in table
    assert table[" Es-Rnn "] is table["es-rnn"]
    assert 3 not in table
    assert canonical(" ES_rnn ") == "es-rnn"


def test_a_wrong_name_offers_the_nearest(table):
    with pytest.raises(UnknownNameError, match=r"no model called 'tpng'[\s\S]*did you mean 'tpgn'"):
        table["tpng"]


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("es", ("es", None)),
        ("es-rnn", ("es-rnn", None)),
        ("es-rnn-tiny", ("es-rnn", "tiny")),
        ("ES_RNN_very_large", ("es-rnn", "very-large")),
        ("es-tiny", ("es", "tiny")),
    ],
)
def test_a_specification_is_a_name_and_perhaps_a_preset(table, spec, parts):
    assert table.resolve(spec) == parts


@pytest.mark.parametrize("spec", ["", "rnn", "rnn-es"])
def test_a_specification_without_a_known_name_is_refused(table, spec):
    with pytest.raises(UnknownNameError):
        table.resolve(spec)


def test_presets():
    presets = {"tiny": {"d_model": 8}}
    assert preset(presets, None, "tpgn") == {}
    settings = preset(presets, "tiny", "tpgn")
    settings["d_model"] = 9
    assert presets["tiny"] == {"d_model": 8}
    with pytest.raises(UnknownNameError, match=r"no preset of tpgn called 'tinny'[\s\S]*did you mean 'tiny'"):
        preset(presets, "tinny", "tpgn")


def test_other_distributions_add_rows_but_replace_none(monkeypatch):
    third_party(monkeypatch, ("Mine_Own", "collections:Counter"), ("es", "evil:Thing"))
    table = Registry("model", {"es": entry()}, group="statewise.models")
    assert list(table) == ["es", "mine-own"]
    assert table["es"].target == "collections:OrderedDict"
    assert table.load("mine-own").__name__ == "Counter"
    assert table["mine-own"].origin != "statewise"


@pytest.mark.parametrize("value", ["no.such.module:Thing", "collections:NoSuchThing"])
def test_a_row_of_others_that_does_not_load_names_its_distribution(monkeypatch, value):
    third_party(monkeypatch, ("mine", value))
    table = Registry("model", {}, group="statewise.models")
    with pytest.raises(UserError, match=r"does not load") as caught:
        table.load("mine")
    assert caught.value.where == f"distribution {value.partition(':')[0]}"
    assert caught.value.fix is not None


def test_a_row_of_ours_that_does_not_load_is_a_defect(table):
    with pytest.raises(ModuleNotFoundError):
        table.load("tpgn")


def test_the_table_handed_out_is_a_copy(table):
    table.entries().clear()
    assert len(table) == 3
