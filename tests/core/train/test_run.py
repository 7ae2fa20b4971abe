from __future__ import annotations

import json
import os
import stat

import pytest
import torch
from torch import nn

from statewise.core.errors import CheckpointError, ConfigError
from statewise.core.train import Run
from statewise.core.train.atomic import replace_file


def test_the_default_place_is_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run.create(None, default="airline-tpgn")
    assert (str(run.path), run.notice) == (os.path.join("runs", "airline-tpgn"), None)


def test_a_second_run_gets_a_number_and_says_so(tmp_path):
    out = tmp_path / "run"
    paths = [Run.create(out, default="x") for _ in range(3)]
    assert [run.path.name for run in paths] == ["run", "run-2", "run-3"]
    assert paths[0].notice is None
    assert paths[2].notice == f"{out} holds something else, so this run goes to {out}-3"


def test_a_directory_with_other_files_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert Run.create(tmp_path, default="x").path == tmp_path.with_name(tmp_path.name + "-2")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").touch()
    monkeypatch.chdir(tmp_path / "inner")
    assert Run.create(".", default="x").path.resolve() == tmp_path / "inner-2"


def test_an_empty_directory_is_used(tmp_path):
    assert Run.create(tmp_path, default="x").path == tmp_path


def test_out_in_the_way_of_a_file_is_said(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ConfigError, match="cannot be made a run directory") as error:
            Run.create(out, default="x")
        assert str(tmp_path / "file") in error.value.where
        assert "--out" in error.value.fix


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no run.json in it"),
        ("{", "run.json: is damaged"),
        ("[]", "run.json: is damaged"),
        ('{"format": 99}', "was written by a newer statewise"),
    ],
)
def test_what_is_not_a_run_is_not_opened(tmp_path, text, words):
    if text is not None:
        (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=words):
        Run.open(tmp_path)


def test_a_missing_directory_is_not_opened(tmp_path):
    with pytest.raises(CheckpointError, match="no such directory"):
        Run.open(tmp_path / "no")


def test_metrics_forget_what_was_cut_off_and_what_will_come_again(tmp_path):
    run = Run.create(tmp_path, default="x")
    assert run.metrics() == []
    for step in range(4):
        run.log({"step": step})
    with open(tmp_path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in run.metrics()] == [0, 1, 2, 3]
    run.set_metrics(run.metrics()[:2])
    run.log({"step": 9})
    assert [row["step"] for row in run.metrics()] == [0, 1, 9]


def test_damaged_metrics_are_said(tmp_path):
    run = Run.create(tmp_path, default="x")
    run.path.joinpath("metrics.jsonl").write_bytes(b'{"step": 1}\n\0\0\0\n')
    with pytest.raises(CheckpointError, match=r"metrics.jsonl: is damaged") as error:
        run.metrics()
    assert "--resume" in error.value.fix


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        Run.create(tmp_path, default="x").log({"loss": float("nan")})


def test_a_part_is_made_once_and_kept(tmp_path):
    run = Run.create(tmp_path, default="x")
    run.part("tpgn").log({"step": 1})
    assert Run.open(run.path).part("tpgn").metrics() == [{"step": 1}]
    assert Run.open(tmp_path / "tpgn").metrics() == [{"step": 1}]


def test_weights_go_back_and_forth_and_are_readable_by_others(tmp_path):
    run = Run.create(tmp_path, default="x")
    model, twin = nn.Linear(2, 3), nn.Linear(2, 3)
    run.save_weights(model)
    run.load_weights(twin)
    assert torch.equal(model.weight, twin.weight)
    usual = stat.S_IMODE((tmp_path / "run.json").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "weights.safetensors").stat().st_mode) == usual


def test_a_run_without_weights_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="the run has no weights yet") as error:
        Run.create(tmp_path, default="x").load_weights(nn.Linear(1, 1))
    assert "--resume" in error.value.fix


def test_files_are_whole_or_old(tmp_path):
    run = Run.create(tmp_path / "run", default="x")
    run.write_json("a/b.json", {"x": 1})
    assert json.loads((run.path / "a" / "b.json").read_text(encoding="utf-8")) == {"x": 1}
    assert run.write_bytes("c", b"12").read_bytes() == b"12"

    def full(new):
        new.write_bytes(b"1")
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"cannot be written \(No space left on device\)"):
        replace_file(run.path / "c", full)
    assert (run.path / "c").read_bytes() == b"12"
    assert not list(run.path.glob(".*"))


def test_opening_sweeps_up_after_a_crash(tmp_path):
    run = Run.create(tmp_path, default="x")
    (run.path / ".weights.safetensors.123.tmp").touch()
    (run.path / ".tmpAb12cD").touch()
    Run.open(run.path)
    assert not list(run.path.glob(".*"))
