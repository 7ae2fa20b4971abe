"""The commands: what they print, JSON alone on stdout, and what they say to broken inputs."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
import torch

from statewise.vision import cli, speed
from statewise.vision.api import TrainSettings, train_run
from tests.vision.broken_inputs import BROKEN, Broken
from tests.vision.pictures import write_folder


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["vision", *words])
    return cli.main()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("images"), each=6, height=8, width=8)


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    settings = TrainSettings(data=(str(images),), model="vig-nano", epochs=1, cnn=False)
    return train_run(settings, out=tmp_path_factory.mktemp("runs") / "run").run.path


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_input_names_the_place_and_the_fix(
    case: Broken, tmp_path: Path, images: Path, trained: Path, monkeypatch, capsys
):
    places = {"RUN": str(trained), "SET": str(images), "IMAGE": str(images / "bars" / "00.png")}
    words = [places.get(word, word) for word in case.build(tmp_path)]
    monkeypatch.chdir(tmp_path)
    assert run(words, monkeypatch) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    for piece in case.expected:
        assert piece in said.err
    assert "\n  fix: " in said.err or "\n  expected: one of" in said.err
    assert all(len(line) < 400 for line in said.err.splitlines())


def test_there_are_enough_cases_with_names_of_their_own():
    names = [case.name for case in BROKEN]
    assert len(names) == len(set(names))
    assert len(names) >= 25


def test_info_says_the_published_numbers(monkeypatch, capsys):
    assert run(["info", "vig-t", "--json"], monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 5_834_536
    assert round(found["costs"][0]["multiply_adds"] / 1e9, 3) == 1.168


def test_train_evaluate_predict_as_json_and_csv(images: Path, tmp_path: Path, monkeypatch, capsys):
    out = str(tmp_path / "run")
    words = ["train", str(images), "--epochs", "1", "--model", "cnn-nano", "--out", out, "--json"]
    assert run(words, monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["scores"]) == ["cnn-nano", "linear on pixels", "commonest class"]
    assert found["classes"] == ["bars", "blocks"]
    assert run(["evaluate", out, str(images), "--json", "--size", "12"], monkeypatch) == 0
    judged = json.loads(capsys.readouterr().out)
    assert judged["size"] == [12, 12]
    assert judged["score"]["images"] == 12
    assert run(["predict", out, str(images / "bars"), "--top", "2", "--out", f"{out}.csv"], monkeypatch) == 0
    rows = list(csv.DictReader(io.StringIO(Path(f"{out}.csv").read_text())))
    assert len(rows) == 6
    assert set(rows[0]) == {"image", "class", "probability", "class 2", "probability 2"}


@pytest.mark.parametrize("size", ["8", "4x12"])
def test_an_export_gives_the_same_probabilities(
    trained: Path, tmp_path: Path, size: str, monkeypatch, capsys
):
    words = ["export", str(trained), str(tmp_path / "model.pt2"), "--size", size, "--json"]
    assert run(words, monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["difference"] < 1e-4
    assert (tmp_path / "model.pt2").exists()


def test_a_second_run_does_not_overwrite_the_first(images: Path, trained: Path, monkeypatch, capsys):
    words = ["train", str(images), "--epochs", "1", "--model", "cnn-nano", "--out", str(trained)]
    assert run(words, monkeypatch) == 0
    assert f"{trained}-2" in capsys.readouterr().out


def test_models_and_data_are_listed(monkeypatch, capsys):
    assert run(["models", "--json"], monkeypatch) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["models"]]
    assert {"vig", "plstm", "lightnet", "hydra-vision", "hgrn-vision", "vit", "cnn"} <= set(names)
    assert run(["data"], monkeypatch) == 0
    assert "fashion-mnist-train-images" in capsys.readouterr().out
    assert run(["video", "models"], monkeypatch) == 0
    assert "convs5" in capsys.readouterr().out


def test_bench_times_in_turns(monkeypatch, capsys):
    monkeypatch.setattr(speed, "extra_memory", lambda *settings: 5_000_000)
    words = ["bench", "--models", "cnn-nano,vit-nano", "--res", "32", "--rounds", "1", "--json"]
    assert run(words, monkeypatch) == 0
    found = json.loads(capsys.readouterr().out)["timings"]
    assert [one["model"] for one in found] == ["cnn-nano", "vit-nano"]
    assert found[1]["speed_up"] == 1.0
    assert all(one["seconds"] > 0 for one in found)


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own():
    small, large = (speed.extra_memory("vit-nano", side, side) for side in (64, 512))
    assert large > small + 1_000_000


def test_arrows_and_moving_digits_are_made(tmp_path: Path, monkeypatch, capsys):
    words = [
        "data",
        "make",
        "arrow",
        str(tmp_path / "arrows"),
        "--count",
        "4",
        "--size",
        "96",
        "--scale",
        "0.5",
    ]
    assert run(words, monkeypatch) == 0
    assert "point at the circle" in capsys.readouterr().out
    assert len(list((tmp_path / "arrows").rglob("*.png"))) == 4


def test_help_imports_nothing_heavy():
    import subprocess

    code = "import sys; sys.argv = ['vision', '--help']; from statewise.vision.cli import main; main(); "
    code += "sys.exit(bool({'torch', 'numpy', 'polars', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
