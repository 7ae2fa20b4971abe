from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from statewise.core.errors import CheckpointError
from statewise.core.train.tensors import load_into, read_tensors, write_tensors

DTYPES = [
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
    torch.bfloat16,
    torch.int64,
    torch.bool,
]


@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=5),
    dtype=st.sampled_from(DTYPES),
)
@settings(deadline=None, max_examples=40)
def test_every_tensor_comes_back(tmp_path_factory, shapes, dtype):
    path = tmp_path_factory.mktemp("t") / "f.safetensors"
    tensors = {f"t{i}": torch.randint(0, 2, shape).to(dtype) for i, shape in enumerate(shapes)}
    write_tensors(path, tensors, {"n": [1, None, "x"]})
    again, note = read_tensors(path)
    assert note == {"n": [1, None, "x"]}
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again[name].dtype == dtype
        assert again[name].shape == tensor.shape
        assert torch.equal(again[name], tensor)


def test_views_and_transposed_tensors_come_back(tmp_path):
    block = torch.arange(24.0).reshape(4, 6)
    tensors = {"row": block[1], "columns": block[:, 2:4], "turned": block.T, "whole": block}
    write_tensors(tmp_path / "f", tensors, {})
    again, _ = read_tensors(tmp_path / "f")
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path):
    def tied():
        model = nn.ModuleDict({"embedding": nn.Embedding(100, 50), "head": nn.Linear(50, 100, bias=False)})
        model["head"].weight = model["embedding"].weight
        return model

    model, twin = tied(), tied()
    path = tmp_path / "f"
    write_tensors(path, model.state_dict(), {})
    assert path.stat().st_size < 1.2 * 4 * 100 * 50
    load_into(twin, read_tensors(path)[0], "f")
    assert twin["head"].weight is twin["embedding"].weight
    assert torch.equal(twin["head"].weight, model["head"].weight)


def damage(data: bytes, kind: str) -> bytes:
    return {
        "empty": b"",
        "text": b"hello",
        "cut": data[:-1],
        "zeros": data[:-64] + bytes(64),
        "one bit": data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
        "header": data[:9] + b"?" + data[10:],
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "zeros", "one bit", "header"])
def test_damage_is_noticed(tmp_path, kind):
    path = tmp_path / "f"
    write_tensors(path, {"a": torch.randn(100)}, {})
    path.write_bytes(damage(path.read_bytes(), kind))
    with pytest.raises(CheckpointError, match="is damaged") as error:
        read_tensors(path)
    assert error.value.where == str(path)


def test_missing_foreign_and_newer_files_are_said(tmp_path, monkeypatch):
    path = tmp_path / "f"
    with pytest.raises(CheckpointError, match="there is no such file"):
        read_tensors(path)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="was not written by statewise"):
        read_tensors(path)
    monkeypatch.setattr("statewise.core.train.tensors.FORMAT", 2)
    write_tensors(path, {"a": torch.ones(1)}, {})
    with pytest.raises(CheckpointError, match="newer statewise") as error:
        read_tensors(path)
    assert "--upgrade" in error.value.fix


def test_weights_of_another_model_are_said(tmp_path):
    with pytest.raises(CheckpointError) as error:
        load_into(nn.Linear(2, 3), {"weight": torch.ones(4, 2), "gain": torch.ones(1)}, "f")
    assert error.value.seen == (
        "'bias' is missing in the file; 'gain' is not in the model; "
        "'weight' is (4, 2) in the file, (3, 2) in the model"
    )


def test_equal_contents_are_equal_bytes(tmp_path: Path):
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.complex128)}
    for number in range(20):
        write_tensors(tmp_path / f"{number}.safetensors", tensors, {"epoch": 1, "best": None})
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1
