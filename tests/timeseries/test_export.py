"""Exported files give the forecasts of the methods they come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnxruntime as runtime
import torch
from torch import nn

from statewise.core import ops
from statewise.core.layers import build
from statewise.timeseries.cli import app
from statewise.timeseries.export import export_run
from statewise.timeseries.history import fill_missing
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.real_form import with_real_states
from statewise.timeseries.saved import load_forecast
from tests.timeseries.broken_inputs import days


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    week = np.sin(2 * np.pi * np.arange(120) / 7)
    rows = [
        f"{day},{10 + 3 * week[i] + rng.normal():.3f},{90 - 9 * week[i]:.3f}"
        for i, day in enumerate(days(120))
    ]
    path = tmp_path_factory.mktemp("export") / "sales.csv"
    path.write_text("\n".join(["date,north,south", *rows]) + "\n", encoding="utf-8")
    return path


def fit(sales: Path, model: str, out: Path) -> Path:
    words = ["fit", str(sales), "--model", model, "--epochs", "1", "--horizon", "4", "--out", str(out), "-q"]
    assert app.run(words) == 0
    return out


@pytest.mark.parametrize(
    "model",
    [
        "nlinear",
        "itransformer-tiny",
        "lru-tiny",
        pytest.param("s5-tiny", marks=pytest.mark.slow),
        pytest.param("gla-tiny", marks=pytest.mark.slow),
    ],
)
def test_a_file_forecasts_as_its_method(model: str, sales: Path, tmp_path: Path):
    run = fit(sales, model, tmp_path / "run")
    (done,) = export_run(run)
    saved = load_forecast(run)
    lookback = done.description["lookback"]
    session = runtime.InferenceSession(done.path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    expected = {one.series: one.point for one in saved.portfolio.predict(saved.panel)}
    method = saved.portfolio.methods[done.method]
    windows, known = [], []
    for series in saved.panel.series:
        windows.append(fill_missing(series.values, 7)[-lookback:].astype(np.float32))
        if "features" in names:
            inputs: Inputs = method.fitted[0]  # pyright: ignore[reportAttributeAccessIssue]
            known.append(inputs.features_of(series, 0)[-lookback:])
    if method.joint:
        feed = {"values": np.stack(windows, axis=1)[None], "features": np.stack(known, axis=1)[None]}
        seen = session.run(None, feed)[0][0]
    else:
        seen = []
        for place, series in enumerate(saved.panel.series):
            units = done.description["series"][series.id]
            feed = {
                "values": windows[place][None],
                "mean": np.array([[units["mean"]]], np.float32),
                "scale": np.array([[units["scale"]]], np.float32),
            }
            seen.append(session.run(None, feed | ({"features": known[place][None]} if known else {}))[0][0])
    for one, series in zip(seen, saved.panel.series, strict=True):
        np.testing.assert_allclose(one, expected[series.id], rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("layer", "settings"),
    [("lru", {"d_state": 5}), ("s5", {"d_state": 8}), ("s5", {"d_state": 6, "conj_sym": False})],
    ids=["lru", "s5", "s5 whole"],
)
def test_complex_states_in_real_numbers_are_the_same_recurrence(layer: str, settings: dict[str, object]):
    torch.manual_seed(0)
    model = nn.Sequential(build(layer, d_model=3, **settings))
    x = torch.randn(2, 11, 3)
    with torch.no_grad(), ops.use_backend("reference"):
        expected = model[0](x)[0]
        actual = with_real_states(model)[0](x)[0]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_command_writes_files_that_name_no_directory(sales: Path, tmp_path: Path, capsys):
    run = fit(sales, "nlinear", tmp_path / "run")
    capsys.readouterr()
    assert app.run(["export", str(run), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["files"]
    content = Path(one["path"]).read_bytes()
    assert b"statewise" in content
    assert str(Path(__file__).parents[2]).encode() not in content
    assert set(json.loads(Path(one["path"]).with_suffix(".json").read_text())["series"]) == {"north", "south"}


def test_a_run_without_such_a_method_is_named(sales: Path, tmp_path: Path, capsys):
    run = fit(sales, "naive", tmp_path / "run")
    assert app.run(["export", str(run)]) == 2
    assert "--model nlinear" in capsys.readouterr().err
