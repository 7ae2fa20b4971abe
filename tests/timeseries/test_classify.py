"""Classes of whole series: readers, methods that learn, saved models, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from statewise.core.errors import DataError
from statewise.timeseries.classify.labelled import LabelledPanel
from statewise.timeseries.classify.methods import ClassifyConfig, build
from statewise.timeseries.classify.reading import read_labelled
from statewise.timeseries.cli import app

HEADER = "@problemName waves\n@timeStamps false\n@classLabel true slow fast\n@data\n"


def waves(n: int = 40, *, variates: int = 1, seed: int = 0) -> LabelledPanel:
    """Slow and fast waves of 12 to 20 steps."""
    rng = np.random.default_rng(seed)
    values, labels = [], []
    for i in range(n):
        length, fast = int(rng.integers(12, 21)), i % 2
        steps = np.arange(length) * (1.6 if fast else 0.6) + rng.uniform(0, 6)
        wave = np.sin(steps) + 0.1 * rng.normal(size=length)
        values.append(np.stack([wave, *rng.normal(size=(variates - 1, length))], axis=1))
        labels.append(("slow", "fast")[fast])
    return LabelledPanel(values=tuple(values), labels=tuple(labels), names=tuple(map(str, range(n))))


def ts(panel: LabelledPanel) -> str:
    lines = [
        ":".join([*(",".join(f"{v:.6f}" for v in column) for column in values.T), label])
        for values, label in zip(panel.values, panel.labels, strict=True)
    ]
    return HEADER + "\n".join(lines) + "\n"


def accuracy(scores: np.ndarray, classes: list[str], panel: LabelledPanel) -> float:
    said = [classes[k] for k in scores.argmax(axis=1)]
    return float(np.mean([a == b for a, b in zip(said, panel.labels, strict=True)]))


@pytest.mark.parametrize("variates", [1, 3])
def test_ts_files_read_back(tmp_path: Path, variates: int):
    panel = waves(6, variates=variates)
    (tmp_path / "w.ts").write_text(ts(panel), encoding="utf-8")
    again = read_labelled(str(tmp_path / "w.ts"))
    assert again.labels == panel.labels
    for one, other in zip(again.values, panel.values, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_wide_and_long_tables_hold_the_same_series(tmp_path: Path):
    panel = waves(5)
    longest = int(panel.lengths.max())
    wide = ["class," + ",".join(f"t{i}" for i in range(longest))]
    long = ["name,class,v"]
    for name, values, label in zip("abcde", panel.values, panel.labels, strict=True):
        cells = [f"{v:.6f}" for v in values[:, 0]]
        wide.append(",".join([label, *cells, *[""] * (longest - len(cells))]))
        long += [f"{name},{label},{cell}" for cell in cells]
    for name, lines in (("wide.csv", wide), ("long.csv", long)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    one, other = (
        read_labelled(str(tmp_path / "wide.csv")),
        read_labelled(str(tmp_path / "long.csv"), id="name"),
    )
    assert one.labels == other.labels == panel.labels
    for a, b in zip(one.values, other.values, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_missing_values_take_the_one_before(tmp_path: Path):
    (tmp_path / "w.ts").write_text(HEADER + "?,1,?,3,?:slow\n4,5,6,7,8:fast\n", encoding="utf-8")
    values = read_labelled(str(tmp_path / "w.ts")).values[0][:, 0]
    assert values.tolist() == [1, 1, 1, 3, 3]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (HEADER + "1,2,3:medium\n", ("line 5", "medium", "slow, fast")),
        (HEADER + "1,2:slow\n1,x:fast\n", ("line 6", "x", "no number")),
        (HEADER + "1,2:3,4:slow\n1,2:fast\n", ("line 6", "variates")),
        (HEADER + "1,2:3:slow\n", ("line 5", "different lengths")),
        (HEADER, ("holds no series",)),
        ("1,2,3\n", ("no line @data",)),
        ("@timeStamps true\n@data\n", ("line 1", "@timeStamps false")),
        ("@classLabel false\n@data\n1,2\n", ("lacks labels", "--label")),
    ],
)
def test_a_broken_ts_file_is_named(text: str, pieces: tuple[str, ...], tmp_path: Path):
    (tmp_path / "w.ts").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_labelled(str(tmp_path / "w.ts"))
    for piece in pieces:
        assert piece in str(error.value)


@pytest.mark.parametrize(("name", "epochs"), [("chimera", 20), ("lru", 40)])
def test_networks_tell_slow_from_fast_where_a_vote_cannot(name: str, epochs: int):
    train, test = waves(40), waves(30, seed=1)
    vote = build("majority", ClassifyConfig())
    vote.fit(train)
    assert accuracy(vote.scores(test), vote.classes, test) == 0.5
    method = build(name, ClassifyConfig(epochs=epochs, d_model=8, depth=1, learning_rate=1e-2))
    method.fit(train)
    assert accuracy(method.scores(test), method.classes, test) >= 0.9


def test_ridge_learns_a_shape():
    rng = np.random.default_rng(0)
    shapes = {"up": np.linspace(-1, 1, 15), "down": np.linspace(1, -1, 15)}
    labels = tuple(rng.choice(list(shapes), 40))
    values = tuple((shapes[name] + 0.5 * rng.normal(size=15))[:, None] for name in labels)
    panel = LabelledPanel(values=values, labels=labels, names=labels)
    method = build("ridge", ClassifyConfig())
    method.fit(panel.select(range(20)))
    assert accuracy(method.scores(panel), method.classes, panel) == 1.0


@pytest.mark.parametrize("name", ["majority", "ridge", "chimera", "gru"])
def test_state_restores_and_padding_and_company_change_nothing(name: str):
    panel = waves(8, variates=2)
    method = build(name, ClassifyConfig(epochs=1, d_model=4, depth=1))
    method.fit(panel)
    again = build(name, method.config)
    again.restore(method.state(), method.classes)
    scores = method.scores(panel)
    np.testing.assert_array_equal(again.scores(panel), scores)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    for i in range(3):
        np.testing.assert_allclose(method.scores(panel.select([i]))[0], scores[i], atol=1e-5)


def test_the_command_fits_judges_and_labels(tmp_path: Path, capsys):
    train, new, run = tmp_path / "train.ts", tmp_path / "new.csv", tmp_path / "run"
    train.write_text(ts(waves(40)), encoding="utf-8")
    rows = [",".join(f"{v:.4f}" for v in values[:12, 0]) for values in waves(2, seed=5).values]
    new.write_text("\n".join([",".join(f"t{i}" for i in range(12)), *rows]) + "\n", encoding="utf-8")
    words = ["classify", str(train), "--model", "lru", "--epochs", "30", "--out", str(run)]
    assert app.run(words) == 0
    said = capsys.readouterr()
    for piece in ("majority", "ridge", "lru", "25% of each class"):
        assert piece in said.out
    assert app.run(["classify", str(new), "--run", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["class"] == ["slow", "fast"]


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        (["classify", "FOLDER/none.ts"], "cannot be read"),
        (["classify", "FOLDER/train.ts", "--model", "chimaera"], "did you mean 'chimera'?"),
        (["classify", "FOLDER/train.ts", "--test", "FOLDER/other.ts"], "variates"),
        (["classify", "FOLDER/train.ts", "--run", "FOLDER"], "not a model directory"),
    ],
)
def test_a_wrong_word_ends_with_exit_2(words: list[str], piece: str, tmp_path: Path, capsys):
    (tmp_path / "train.ts").write_text(ts(waves(12)), encoding="utf-8")
    (tmp_path / "other.ts").write_text(ts(waves(12, variates=2)), encoding="utf-8")
    assert app.run([word.replace("FOLDER", str(tmp_path)) for word in words]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert piece in said.err
