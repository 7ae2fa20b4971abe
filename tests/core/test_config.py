"""Configurations: strict decoding, places in messages, files that come back unchanged."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statewise.core import config
from statewise.core.config import (
    config_class,
    field_docs,
    from_dict,
    load,
    merge,
    read,
    require,
    save,
    to_dict,
)
from statewise.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer."""

    d_model: int
    """Channels, D."""
    rate: float = 0.1
    """Learning rate,
    of the layer."""
    undocumented: int = 0

    def __post_init__(self) -> None:
        require(self.d_model >= 1, "d_model", self.d_model, "at least 1")


@dataclass(frozen=True, kw_only=True)
class Wide(Layer):
    """A layer with more."""

    width: int = 2
    """Width."""


@dataclass(frozen=True, kw_only=True)
class Model:
    first: Layer
    kind: Literal["a", "b"] = "a"
    maybe: Layer | None = None
    stack: tuple[Layer, ...] = ()
    pair: tuple[int, Layer] | None = None
    named: dict[str, Layer] = field(default_factory=dict)
    patience: int | None = 5
    out: Path | None = None
    lags: list[int] = field(default_factory=list)
    limit: float = 1.0


GOOD = {"d_model": 4}


def refusal(cls, values) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        from_dict(cls, values, where="f.toml")
    return caught.value


def test_missing_keys_take_their_defaults():
    assert from_dict(Layer, {"d_model": 4}) == Layer(d_model=4)


def test_an_integer_is_a_float_but_not_the_other_way_round():
    assert from_dict(Layer, {"d_model": 4, "rate": 1}).rate == 1.0
    error = refusal(Layer, {"d_model": 4.0})
    assert (error.where, error.seen, error.expected) == ("f.toml, d_model", "float", "int")
    assert refusal(Layer, {"d_model": True}).seen == "bool"


def test_a_missing_key_is_named():
    error = refusal(Layer, {})
    assert error.where == "f.toml"
    assert "'d_model'" in error.what


def test_a_choice_is_checked():
    error = refusal(Model, {"first": GOOD, "kind": "c"})
    assert error.where == "f.toml, kind"
    assert "'c'" in error.what


BAD = [
    ("first", lambda bad: bad, "first"),
    ("maybe", lambda bad: bad, "maybe"),
    ("stack", lambda bad: [GOOD, bad], "stack[1]"),
    ("pair", lambda bad: [1, bad], "pair[1]"),
    ("named", lambda bad: {"x": bad}, "named.x"),
]


@pytest.mark.parametrize(("key", "wrap", "place"), BAD)
def test_an_unknown_key_is_refused_at_any_depth(key, wrap, place):
    error = refusal(Model, {"first": GOOD} | {key: wrap({"d_modle": 4})})
    assert error.where == f"f.toml, {place}"
    assert error.what == "unknown setting 'd_modle'"
    assert error.fix == "did you mean 'd_model'?"


@pytest.mark.parametrize(("key", "wrap", "place"), BAD)
def test_a_bound_is_reported_where_the_value_stands(key, wrap, place):
    error = refusal(Model, {"first": GOOD} | {key: wrap({"d_model": 0})})
    assert error.where == f"f.toml, {place}.d_model"
    assert (error.seen, error.expected) == ("0", "at least 1")
    assert error.fix == "set d_model to at least 1"


@pytest.mark.parametrize(("key", "wrap", "place"), BAD)
def test_a_wrong_type_is_reported_where_the_value_stands(key, wrap, place):
    assert refusal(Model, {"first": GOOD} | {key: wrap({"d_model": "x"})}).where == f"f.toml, {place}.d_model"


def test_a_bound_holds_for_the_constructor_too():
    with pytest.raises(ConfigError, match="'d_model' is out of bounds"):
        Layer(d_model=0)


def test_merge_replaces_single_values_of_nested_tables_and_checks_them():
    model = Model(first=Layer(d_model=4, rate=0.5), patience=None)
    merged = merge(model, {"first": {"d_model": 8}, "lags": [1]})
    assert merged == Model(first=Layer(d_model=8, rate=0.5), patience=None, lags=[1])
    assert model.first.d_model == 4
    with pytest.raises(ConfigError, match="unknown setting 'd_modle'"):
        merge(model, {"first": {"d_modle": 8}})


layers = st.builds(
    Layer, d_model=st.integers(1, 2**40), rate=st.floats(allow_nan=False, allow_infinity=False)
)
models = st.builds(
    Model,
    first=layers,
    kind=st.sampled_from(["a", "b"]),
    maybe=st.none() | layers,
    stack=st.lists(layers, max_size=2).map(tuple),
    pair=st.none() | st.tuples(st.integers(0, 9), layers),
    named=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), layers, max_size=2),
    patience=st.integers(0, 9),
    out=st.none() | st.sampled_from([Path("a/b.csv"), Path("ü")]),
    lags=st.lists(st.integers(-9, 9), max_size=3),
    limit=st.floats(allow_nan=False, allow_infinity=False),
)


@pytest.mark.parametrize("ending", [".toml", ".json"])
@settings(max_examples=40)
@given(model=models)
def test_a_file_gives_the_configuration_back(tmp_path_factory, ending, model):
    path = tmp_path_factory.getbasetemp() / f"round{ending}"
    save(model, path)
    assert load(Model, path) == model
    assert to_dict(load(Model, path)) == to_dict(model)


def test_a_none_that_toml_would_turn_into_the_default_is_refused(tmp_path):
    model = Model(first=Layer(d_model=1), patience=None)
    with pytest.raises(ConfigError, match=r"None that TOML cannot say[\s\S]*\.json"):
        save(model, tmp_path / "c.toml")
    assert not (tmp_path / "c.toml").exists()
    save(model, tmp_path / "c.json")
    assert load(Model, tmp_path / "c.json") == model


def test_json_never_holds_infinity_but_toml_may(tmp_path):
    model = Model(first=Layer(d_model=1), limit=math.inf)
    with pytest.raises(ConfigError, match="number that JSON cannot say"):
        save(model, tmp_path / "c.json")
    save(model, tmp_path / "c.toml")
    assert load(Model, tmp_path / "c.toml") == model


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.yaml", b"", r"TOML or JSON[\s\S]*\.yaml"),
        ("c", b"", r"TOML or JSON[\s\S]*no ending"),
        ("c.toml", b"a = ", "is not valid TOML"),
        ("c.json", b"{", "is not valid JSON"),
        ("c.json", b'{"a": NaN}', "NaN is no number"),
        ("c.json", b"[1]", r"no table of settings[\s\S]*list"),
        ("c.toml", b"a = '\xff'", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read(path)
    assert caught.value.where == str(path)
    assert caught.value.expected or caught.value.fix


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No such file") as caught:
        load(Layer, tmp_path / "c.toml")
    assert caught.value.where == str(tmp_path / "c.toml")


def test_a_byte_order_mark_is_no_obstacle(tmp_path):
    (tmp_path / "c.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert load(Layer, tmp_path / "c.json") == Layer(d_model=4)


def test_what_a_configuration_cannot_hold_is_a_defect():
    @dataclass(frozen=True, kw_only=True)
    class Odd:
        thing: object

    with pytest.raises(TypeError, match="module"):
        to_dict(Odd(thing=config))


def test_field_docs_include_those_of_base_classes():
    assert field_docs(Wide) == {
        "d_model": "Channels, D.",
        "rate": "Learning rate,\nof the layer.",
        "width": "Width.",
    }


def test_the_configuration_of_a_model_is_the_annotation_of_its_constructor():
    class Net:
        def __init__(self, config: Wide) -> None:
            self.config = config

    assert config_class(Net) is Wide
