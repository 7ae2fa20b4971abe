from __future__ import annotations

import json
import math

import pytest
import torch

from statewise.core.errors import ConfigError
from statewise.core.train import FitConfig, Run, fit
from statewise.core.train.engine import make_engine

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def test_two_processes_stopped_and_resumed_equal_one_with_the_doubled_batch(toy, start_toy, tmp_path):
    """33 examples in steps of 16: the last step of an epoch has one, and one process none."""
    process = start_toy("distributed", tmp_path / "run", under=TORCHRUN)
    task = toy.Toy(33, dropout=0.0, noise=0.0, dtype=torch.float64)
    losses = []
    config = FitConfig(epochs=3, batch_size=16, learning_rate=0.05, clip=0.5, device="cpu")
    result = fit(task, config, progress=lambda tick: losses.append(tick.loss))

    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    run = Run.open(tmp_path / "run")
    written = json.loads((run.path / "losses.json").read_text(encoding="utf-8"))
    assert written["fabric"]
    assert len(losses) == 9
    torch.testing.assert_close(torch.tensor(written["losses"]), torch.tensor(losses), rtol=1e-9, atol=0)
    assert math.isclose(written["best"], result.best["mse"], rel_tol=1e-9)
    assert len(run.metrics()) == 3

    twin = toy.Toy(33, dropout=0.0, dtype=torch.float64).model
    run.load_weights(twin)
    torch.testing.assert_close(twin.state_dict(), task.model.state_dict(), rtol=1e-9, atol=1e-12)
    assert not list(tmp_path.glob("run-*"))  # the second process made no directory of its own


def test_a_number_of_devices_that_torchrun_did_not_start_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="torchrun has started another number") as error:
        make_engine(FitConfig(devices=3))
    assert (error.value.seen, error.value.fix) == ("3; torchrun 2", "leave --devices out")


def test_only_the_first_process_writes(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    run = Run.create(tmp_path / "run", default="x")
    run.log({"step": 1})
    run.write_text("note.txt", "x")
    run.save_weights(torch.nn.Linear(1, 1))
    assert not run.writes
    assert not list(tmp_path.iterdir())
