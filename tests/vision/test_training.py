"""Training from a folder: report, model, other resolutions, channels, resume to the bit, transfer, export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from statewise.core.errors import CheckpointError, DataError, Interrupted
from statewise.vision.api import TrainSettings, evaluate_run, predict_run, resume_run, train_run
from statewise.vision.augment import AugmentConfig, Augmenter
from statewise.vision.average import Averaged
from statewise.vision.explain import attention_map, explain_image, memory_map
from statewise.vision.exporting import export_classifier
from statewise.vision.metrics import confusion, score
from statewise.vision.saved import load_classifier
from tests.vision.pictures import save, shape_image, write_folder

EPOCHS = 6


def settings(folder: Path, **changes) -> TrainSettings:
    values = {"model": "vig-nano", "epochs": EPOCHS, "batch_size": 16, "seed": 1, "cnn": False}
    return TrainSettings(data=(str(folder),), **(values | changes))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("shapes"), each=40, channels=1)


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "shapes"
    return train_run(settings(images, cnn=True, epochs=8), out=out).run.path


def test_a_run_tells_the_shapes_apart_and_shows_what_it_beats(run: Path):
    scores = json.loads((run / "scores.json").read_text())
    assert list(scores) == ["vig-nano", "cnn-nano", "linear on pixels", "commonest class"]
    assert scores["vig-nano"]["accuracy"] >= 0.7
    assert scores["commonest class"]["accuracy"] == 0.5
    page = (run / "report.html").read_text()
    assert "linear on pixels" in page
    assert (run / "confusion.png").stat().st_size > 1000
    header, *rows = (run / "confusion.csv").read_text().splitlines()
    assert header == "true,bars,blocks"
    assert sum(int(cell) for row in rows for cell in row.split(",")[1:]) == 12


def test_a_fresh_model_file_predicts_what_the_run_did(run: Path, images: Path, tmp_path: Path):
    rows, _ = predict_run(run, [str(images / "bars" / "00.png"), str(images / "blocks" / "01.png")], top=2)
    assert [row.classes[0] for row in rows] == ["bars", "blocks"]
    assert all(sum(row.probabilities) == pytest.approx(1) for row in rows)


@pytest.mark.parametrize("size", ["32", "20x36"])
def test_other_resolutions_need_no_change(run: Path, images: Path, size: str):
    found = evaluate_run(run, [str(images)], size=size)
    assert found.score.images == 80
    assert found.confusion.sum() == 80


def test_grey_and_colour_are_not_confused(run: Path, tmp_path: Path):
    path = save(shape_image(0, np.random.default_rng(0), 16, 16, 3), tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"(?s)colour\.png.*3 channels.*--convert"):
        predict_run(run, [str(path)])
    rows, _ = predict_run(run, [str(path)], convert=True)
    assert rows[0].classes == ("bars",)
    write_folder(tmp_path / "set", each=3)
    with pytest.raises(DataError, match=r"(?s)00\.png.*--convert"):
        evaluate_run(run, [str(tmp_path / "set")])


def test_a_panorama_and_a_truncated_file_among_others(run: Path, tmp_path: Path):
    folder = tmp_path / "new"
    folder.mkdir()
    Image.fromarray(np.zeros((200, 3000), np.uint8)).save(folder / "wide.png")
    data = save(shape_image(0, np.random.default_rng(0), 16, 16, 1), folder / "bad.jpg").read_bytes()
    (folder / "bad.jpg").write_bytes(data[:-40])
    rows, notes = predict_run(run, [str(folder)], size="native")
    assert len(rows) == 1
    assert "bad.jpg" in notes[0]


def test_a_stopped_run_goes_on_to_the_bit(images: Path, tmp_path: Path):
    whole = train_run(settings(images, augment="light", average=0.9, epochs=3), out=tmp_path / "whole")
    calls = 0

    def stop(fraction: float, words: str) -> None:
        nonlocal calls
        calls += "epoch" in words
        if calls == 5:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    cut = settings(images, augment="light", average=0.9, epochs=3)
    with pytest.raises(Interrupted):
        train_run(cut, out=tmp_path / "cut", progress=stop)
    resumed = resume_run(tmp_path / "cut")
    ours, theirs = resumed.classifier.network.state_dict(), whole.classifier.network.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_resume_refuses_other_images(run: Path, tmp_path: Path):
    other = write_folder(tmp_path / "other", each=6, channels=1)
    with pytest.raises(CheckpointError, match="began with other data"):
        resume_run(run, data=[str(other)])


def test_a_frozen_start_trains_only_the_head(run: Path, images: Path, tmp_path: Path):
    outcome = train_run(
        settings(images, start=str(run), freeze=True, epochs=1, size="20"), out=tmp_path / "tuned"
    )
    before, after = load_classifier(run).network, outcome.classifier.network
    assert torch.equal(before.blocks[0].mlp.out.weight, after.blocks[0].mlp.out.weight)
    assert not torch.equal(before.head.weight, after.head.weight)
    assert after.positions.table.shape[1:3] == (5, 5)
    with pytest.raises(CheckpointError, match="another architecture"):
        train_run(settings(images, model="vit-nano", start=str(run)), out=tmp_path / "no")


def test_explain_looks_at_the_grid(run: Path, images: Path, tmp_path: Path):
    found = explain_image(run, images / "bars" / "00.png", out=tmp_path / "why.png")
    assert found.class_name == "bars"
    with Image.open(tmp_path / "why.png") as picture:
        assert picture.width > 500
    classifier = load_classifier(run)
    values = np.random.default_rng(0).integers(0, 255, (1, 16, 24), dtype=np.uint8)
    heat = attention_map(classifier, values, 0)
    assert heat.shape == (4, 6)
    assert 0 <= heat.min() <= heat.max() <= 1
    memory = memory_map(classifier, values)
    assert memory is not None
    assert memory.shape == (4, 6)
    assert (memory > 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, "12x20"])
def test_an_exported_model_gives_the_same_probabilities(run: Path, tmp_path: Path, size: str | None):
    found = export_classifier(run, tmp_path / "model.pt2", size=size)
    assert found.difference < 1e-4
    assert (found.height, found.width) == ((16, 16) if size is None else (12, 20))


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, "12x20"])
def test_an_exported_onnx_model_gives_the_same_probabilities(run: Path, tmp_path: Path, size: str | None):
    assert export_classifier(run, tmp_path / "model.onnx", size=size).difference < 1e-4


def test_figures_on_a_known_table():
    labels = np.array([0, 0, 0, 1])
    found = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
    one = score(labels, found)
    assert confusion(labels, found).tolist() == [[2, 1], [0, 1]]
    assert one.accuracy == 0.75
    assert one.balanced == pytest.approx((2 / 3 + 1) / 2)
    assert one.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert one.log_loss == pytest.approx(-np.log([0.9, 0.8, 0.3, 0.8]).mean())
    assert (one.low, one.high) == pytest.approx((0.3006, 0.9544), abs=1e-4)


def test_augmentation_shifts_mirrors_and_keeps_the_values():
    images = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)
    torch.manual_seed(0)
    changed = Augmenter(AugmentConfig(), 2).images(images)
    assert changed.shape == images.shape
    assert set(changed[0].flatten().tolist()) <= set(range(64))
    assert not torch.equal(changed, images)
    torch.manual_seed(0)
    assert torch.equal(changed, Augmenter(AugmentConfig(), 2).images(images))
    strong = Augmenter(AugmentConfig(level="strong"), 3)
    mixed, labels = strong.mixed(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]))
    assert mixed.shape == (4, 1, 8, 8)
    assert labels.shape in ((4,), (4, 3))


def test_the_average_follows_the_weights():
    layer = torch.nn.Linear(1, 1, bias=False)
    averaged = Averaged(layer, 0.5)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    averaged.average.weight.data.zero_()
    averaged.train()
    averaged(torch.zeros(1, 1))  # d = min(0.5, 1/10)
    assert averaged.average.weight.item() == pytest.approx(0.9)
    averaged.eval()
    assert averaged(torch.ones(1, 1)).item() == pytest.approx(0.9)
