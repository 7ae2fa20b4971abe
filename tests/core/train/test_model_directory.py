from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from statewise.core.errors import CheckpointError
from statewise.core.train import Run, load_model, save_model

ARRAYS = {
    "scale": np.array(2.5),
    "rows": np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::2],
    "mask": np.array([True, False]),
    "none": np.empty((0, 3)),
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


@pytest.fixture
def saved(tmp_path, network):
    return save_model(
        tmp_path / "model",
        kind="timeseries/linear",
        config={"d_model": 3},
        metadata={"columns": ["a", "ß"], "period": None},
        arrays=ARRAYS,
        network=network,
    )


def test_everything_comes_back(saved, network):
    model = load_model(saved, kind="timeseries")
    assert (model.kind, model.config) == ("timeseries/linear", {"d_model": 3})
    assert model.metadata == {"columns": ["a", "ß"], "period": None}
    assert model.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert model.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(model.arrays[name], array, strict=True)
    twin = nn.Linear(3, 2)
    model.load_weights(twin)
    assert torch.equal(twin.weight, network.weight)


def test_it_predicts_in_a_fresh_process_and_needs_torch_only_for_the_network(saved, network, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.move(saved, moved)
    program = """
import sys
from statewise.core.train import load_model
model = load_model(sys.argv[1])
assert "torch" not in sys.modules
import torch
network = torch.nn.Linear(model.config["d_model"], 2)
model.load_weights(network)
print((network(torch.ones(3)) * float(model.arrays["scale"])).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(moved)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == (network(torch.ones(3)) * 2.5).tolist()


def test_saving_again_replaces_the_model_and_leaves_no_old_arrays(saved):
    (saved / "notes.txt").touch()
    save_model(saved, kind="timeseries/naive", config={})
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "notes.txt"]
    model = load_model(saved)
    assert (model.kind, model.arrays) == ("timeseries/naive", {})
    with pytest.raises(CheckpointError, match="there is no such file"):
        model.load_weights(nn.Linear(1, 1))


def test_a_run_is_read_through_its_model(tmp_path):
    run = Run.create(tmp_path / "run", default="x")
    with pytest.raises(CheckpointError, match="is not a model directory") as error:
        load_model(run.path)
    assert "--resume" in error.value.fix
    save_model(run.path / "model", kind="timeseries/naive", config={})
    assert load_model(run.path).path == run.path / "model"


def edit(path, **changes):
    facts = json.loads((path / "config.json").read_text(encoding="utf-8"))
    (path / "config.json").write_text(json.dumps(facts | changes), encoding="utf-8")


def swap_weights(path):
    save_model(path.with_name("other"), kind="x", config={}, network=nn.Linear(3, 2))
    shutil.copy(path.with_name("other") / "weights.safetensors", path)


BROKEN = [
    (shutil.rmtree, "no such directory", "check the path"),
    (lambda path: (path / "config.json").unlink(), "no config.json in it", "check the path"),
    (
        lambda path: (path / "config.json").write_text("{", encoding="utf-8"),
        "is not valid JSON",
        "from a copy",
    ),
    (
        lambda path: (path / "config.json").write_text("{}", encoding="utf-8"),
        "not written by statewise",
        "another",
    ),
    (lambda path: (path / "config.json").write_bytes(b"\xff"), "is not valid JSON", "from a copy"),
    (
        lambda path: (path / "weights.safetensors").unlink(),
        "weights.safetensors: is missing",
        "save the model again",
    ),
    (
        lambda path: (path / "arrays.safetensors").write_bytes(b""),
        "arrays.safetensors: does not belong",
        "--resume",
    ),
    (swap_weights, "weights.safetensors: does not belong", "save the model again"),
    (lambda path: edit(path, format=2), "was written by a newer statewise", "pip install --upgrade"),
    (lambda path: edit(path, kind="vision/cnn"), "is a model of another kind", "check the path"),
]


@pytest.mark.parametrize(("breaking", "words", "fix"), BROKEN)
def test_broken_directories_are_said(saved, breaking, words, fix):
    breaking(saved)
    with pytest.raises(CheckpointError) as error:
        load_model(saved, kind="timeseries")
    assert words in str(error.value)
    assert fix in error.value.fix
    assert str(saved) in error.value.where


def test_another_programs_directory_is_not_written_to(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": []}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="was not written by statewise"):
        save_model(tmp_path, kind="x", config={}, arrays=ARRAYS)
    assert len(list(tmp_path.iterdir())) == 1


def test_arrays_that_are_no_numbers_are_refused(tmp_path):
    with pytest.raises(TypeError, match="array 'ids' holds <U1"):
        save_model(tmp_path / "m", kind="x", config={}, arrays={"ids": np.array(["a"])})
