"""What a run was asked for comes back as it was; other data are refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from statewise.core.errors import CheckpointError, ConfigError
from statewise.core.train import Run
from statewise.core.train.settings import keep_settings, kept_settings, require_files, require_same_data


@dataclass(frozen=True, kw_only=True)
class Asked:
    data: tuple[str, ...]
    epochs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Other:
    width: int


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path / "run", default="x")
    keep_settings(made, Asked(data=("a.csv", "b.csv"), epochs=3), fingerprint="12ab")
    return made


def test_settings_come_back(run: Run):
    assert kept_settings(Run.open(run.path), Asked) == (Asked(data=("a.csv", "b.csv"), epochs=3), "12ab")


def test_settings_of_another_program_are_refused(run: Run):
    with pytest.raises(ConfigError, match=r"settings\.json"):
        kept_settings(run, Other)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"data": ["a"]'])
def test_damaged_settings_are_refused(run: Run, text: str):
    (run.path / "settings.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match="holds no settings to resume from"):
        kept_settings(run, Asked)


def test_other_data_are_refused(run: Run):
    require_same_data(run, "12ab", "12ab", ["a.csv"])
    with pytest.raises(CheckpointError, match=r"(?s)began with other data.*34cd of a\.csv.*12ab"):
        require_same_data(run, "12ab", "34cd", ["a.csv"])


def test_a_run_on_standard_input_goes_on_with_a_file_alone(run: Run):
    require_files(run, ("rows.csv",), "forecast fit data.csv")
    with pytest.raises(CheckpointError, match="standard input") as raised:
        require_files(run, ("-",), "forecast fit data.csv")
    assert raised.value.fix == "name a file with the same rows: forecast fit data.csv --resume RUN"
