"""Each layer is documented, registered and formed as agreed; a step that was forgotten is named."""

from __future__ import annotations

import dataclasses
import importlib
import re

import pytest

from statewise.core import ops
from statewise.core.config import config_class, field_docs
from statewise.core.layers import LAYERS
from statewise.core.layers.contract import Layer
from statewise.core.layers.timed import TimedLayer
from tests.contracts.layer_cases import ROOT, TABLE, each, make

NAMES = [name for name, entry in LAYERS.entries().items() if entry.origin == "statewise"]
SECTIONS = ("Equation", "Shapes", "Initialisation", "What differs from the paper")


@pytest.mark.parametrize("name", NAMES)
def test_every_step_of_adding_a_layer_was_taken(name: str) -> None:
    entry, file = LAYERS[name], name.replace("-", "_")
    assert name in TABLE["layers"], (
        f"add tiny settings to tests/contracts/layers.toml: {name} = {{ d_model = 4 }}"
    )
    assert entry.summary, f"the row of '{name}' in LAYERS says no summary"
    assert entry.paper, f"the row of '{name}' in LAYERS names no paper"
    assert entry.year, f"the row of '{name}' in LAYERS names no year"
    assert set(entry.facts) >= {"ops", "streaming"}, (
        f"the row of '{name}' needs facts={{'ops': (...), 'streaming': ...}}"
    )
    for op in entry.facts["ops"]:
        assert op in ops.__all__, (
            f"the row of '{name}' names '{op}', which statewise.core.ops does not export"
        )
    page = ROOT / "docs" / "layers" / f"{file}.md"
    assert page.is_file(), f"write docs/layers/{file}.md with the sections {', '.join(SECTIONS)}"
    missing = [section for section in SECTIONS if f"## {section}" not in page.read_text(encoding="utf-8")]
    assert not missing, f"docs/layers/{file}.md lacks the sections {missing}"


@pytest.mark.parametrize("name", NAMES)
def test_class_and_configuration_have_the_agreed_form(name: str) -> None:
    layer = LAYERS.load(name)
    assert issubclass(layer, Layer)
    assert layer.streaming == LAYERS[name].facts["streaming"]
    assert ("L" in layer.axes) == LAYERS[name].facts.get("reset", True), (
        "a row without reset has no time axis"
    )
    if layer.streaming:
        assert layer.step is not Layer.step, f"{layer.__name__} streams, so it needs a step"
    assert importlib.import_module(layer.__module__).__doc__, (
        f"the module of '{name}' needs a docstring with its equation"
    )
    config = config_class(layer)
    fields = [field.name for field in dataclasses.fields(config)]
    assert config.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(config))
    assert fields[0] == "d_model"
    undocumented = set(fields) - set(field_docs(config))
    assert not undocumented, f"document each field of {config.__name__} under it: {undocumented} are bare"


def test_every_row_of_settings_belongs_to_a_layer() -> None:
    strangers = {case.partition("/")[0] for case in TABLE["layers"]} - set(LAYERS)
    assert not strangers, f"layers.toml has settings for {strangers}, which the registry does not know"


def test_every_layer_file_is_registered() -> None:
    known = {entry.target.partition(":")[0] for entry in LAYERS.entries().values()}
    folder = ROOT / "core" / "src" / "statewise" / "core" / "layers"
    written = {
        f"statewise.core.layers.{file.stem}"
        for file in folder.glob("*.py")
        if re.search(r"\((?:Timed)?Layer\[", file.read_text("utf-8"))
    } - {TimedLayer.__module__}
    assert not written - known, f"add rows to LAYERS in layers/__init__.py for {written - known}"


@each(sequential=False)
def test_declared_parameters_exist(case: str) -> None:
    layer = make(case)
    own = {name for name, _ in layer.named_parameters()}
    assert layer.slow <= own, f"slow names no parameter: {layer.slow - own}"
    assert layer.no_decay <= own, f"no_decay names no parameter: {layer.no_decay - own}"
