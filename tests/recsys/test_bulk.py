"""Recommendations in bulk are those of `recommend`; a directory that holds something is left alone."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from statewise.core.errors import ConfigError, UserError
from statewise.recsys.api import fit_run
from statewise.recsys.bulk import Worker, recommend_bulk
from statewise.recsys.recommend import RecommendSettings, recommend_run
from statewise.recsys.settings import FitSettings
from tests.recsys.synthetic import shop


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    return fit_run(
        FitSettings(data=(str(shop(place / "events.csv")),), model="markov"), out=place / "r"
    ).run.path


def test_blocks_hold_what_recommend_says(run: Path, tmp_path: Path):
    settings = RecommendSettings(k=3, reasons=True)
    whole = recommend_run(run, settings).table
    users = whole["user"].n_unique()
    worker = Worker(str(run), settings, str(tmp_path), block=7)
    counts = [worker.answer(block) for block in range(-(-users // 7))]
    files = sorted(tmp_path.glob("*.parquet"))
    assert len(files) == len(counts)
    assert pl.concat([pl.read_parquet(file) for file in files]).equals(whole)
    assert sum(counts) == len(whole)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.slow
def test_ray_spreads_the_blocks(run: Path, tmp_path: Path):
    pytest.importorskip("ray")
    settings = RecommendSettings(k=2)
    done = recommend_bulk(run, settings, tmp_path / "out", workers=2, block=20)
    whole = recommend_run(run, settings).table
    files = sorted((tmp_path / "out").glob("*.parquet"))
    assert pl.concat([pl.read_parquet(file) for file in files]).equals(whole)
    assert (done.rows, done.files) == (len(whole), len(files))


def test_a_ray_that_does_not_start_is_no_defect_of_ours(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(**settings: object) -> None:
        raise Exception("The current node timed out during startup.")

    ray, data = ModuleType("ray"), ModuleType("ray.data")
    ray.__dict__.update(data=data, is_initialized=lambda: False, init=fail)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    with pytest.raises(UserError, match=r"Ray: does not start\n.*timed out(.|\n)*ray start --head"):
        recommend_bulk(run, RecommendSettings(), tmp_path / "out")


def test_a_directory_is_needed_and_left_alone_when_it_holds_something(run: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="needs a directory"):
        recommend_bulk(run, RecommendSettings(), None)
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds something already"):
        recommend_bulk(run, RecommendSettings(), tmp_path)
