from __future__ import annotations

import dataclasses

import pytest

from statewise.core import config as configuration
from statewise.core.errors import ConfigError
from statewise.core.train import FitConfig


def test_the_default_is_valid_and_travels(tmp_path):
    for name in ("fit.toml", "fit.json"):
        configuration.save(FitConfig(clip=2.0), tmp_path / name)
        assert configuration.load(FitConfig, tmp_path / name) == FitConfig(clip=2.0)


def test_every_field_is_documented():
    assert configuration.field_docs(FitConfig).keys() == {
        field.name for field in dataclasses.fields(FitConfig)
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("epochs", 0), ("steps", 0), ("budget", 0.0), ("batch_size", 0), ("accumulate", 0)),
        *(("learning_rate", 0.0), ("slow_rate", 1.5), ("weight_decay", -1.0), ("betas", (0.9, 1.0))),
        *(("warmup_steps", -1), ("decay", 0.0), ("floor", 2.0), ("clip", 0.0), ("patience", 0)),
        *(("eval_every", 0), ("save_every", -1.0), ("devices", 0), ("threads", 0), ("hold_epochs", 0)),
    ],
)
def test_bounds_name_the_field(name, value):
    with pytest.raises(ConfigError) as error:
        FitConfig(**{name: value})
    assert error.value.where == name
    assert name in error.value.fix


def test_a_run_without_a_bound_is_refused():
    with pytest.raises(ConfigError, match="would never end"):
        FitConfig(epochs=None)


def test_unknown_choices_are_refused():
    with pytest.raises(ConfigError, match="cosin"):
        configuration.from_dict(FitConfig, {"schedule": "cosin"})
