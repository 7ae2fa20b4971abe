from __future__ import annotations

import dataclasses
import json
import logging

import pytest
import torch

from statewise.core.errors import CheckpointError
from statewise.core.train import Run, fit
from statewise.core.train.checkpoint import CURRENT, PREVIOUS, read_checkpoint


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """The uninterrupted run."""
    torch.set_num_threads(1)
    run = Run.create(tmp_path_factory.mktemp("whole") / "run", default="toy")
    task = toy.Toy()
    result = fit(task, toy.SETTINGS, run)
    return task, result, run


class Stopped(Exception):
    """A crash of the task."""


def crash_in_batch(task, number):
    """Let the task fail at its n-th micro-batch."""
    batch = task.batch

    def failing(indices):
        if task.batches == number:
            raise Stopped
        return batch(indices)

    task.batch = failing
    return task


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 10, 19])
def test_a_run_stopped_at_any_step_resumes_bit_for_bit(toy, whole, tmp_path, step):
    task, result, whole_run = whole  # 5 steps per epoch, 3 between evaluations, 2 micro-batches per step
    seen = []
    first = toy.Toy()
    run = Run.create(tmp_path / "run", default="toy")
    stopped = fit(first, toy.SETTINGS, run, progress=seen.append, should_stop=lambda: len(seen) == step)
    assert (stopped.stopped_by, stopped.steps) == ("should_stop", step)

    again = toy.Toy()
    resumed = fit(again, toy.SETTINGS, Run.open(run.path))
    assert_same_weights(again.model.state_dict(), task.model.state_dict())
    assert toy.without_times(resumed.history) == toy.without_times(result.history)
    assert toy.without_times([resumed.best]) == toy.without_times([result.best])
    assert toy.without_times(run.metrics()) == toy.without_times(whole_run.metrics())
    assert (resumed.steps, resumed.epochs) == (result.steps, result.epochs)


@pytest.mark.parametrize("micro_batch", [1, 5, 10, 23])
def test_a_crash_in_the_middle_of_an_accumulation_is_as_if_it_had_not_been(toy, whole, tmp_path, micro_batch):
    task = crash_in_batch(toy.Toy(), micro_batch)
    run = Run.create(tmp_path / "run", default="toy")
    with pytest.raises(Stopped):
        fit(task, toy.SETTINGS, run)
    again = toy.Toy()
    fit(again, toy.SETTINGS, Run.open(run.path))
    assert_same_weights(again.model.state_dict(), whole[0].model.state_dict())
    assert toy.without_times(run.metrics()) == toy.without_times(whole[2].metrics())


def test_a_finished_run_is_left_as_it_is(toy, whole):
    task, _, run = whole
    rows = run.metrics()
    again = toy.Toy()
    same = fit(again, toy.SETTINGS, Run.open(run.path))
    assert again.batches == 0
    assert same.stopped_by == "epochs"
    assert_same_weights(again.model.state_dict(), task.model.state_dict())
    assert toy.without_times(run.metrics()) == toy.without_times(rows)


def test_a_run_can_be_extended(toy, tmp_path):
    config = dataclasses.replace(toy.SETTINGS, schedule="constant")
    long, short = toy.Toy(), toy.Toy()
    fit(long, dataclasses.replace(config, epochs=6), None)
    run = Run.create(tmp_path / "run", default="toy")
    fit(short, config, run)
    result = fit(short, dataclasses.replace(config, epochs=6), run)
    assert result.epochs == 6
    assert_same_weights(short.model.state_dict(), long.model.state_dict())


def test_patience_goes_on_counting(toy, tmp_path):
    config = dataclasses.replace(toy.SETTINGS, patience=4, epochs=50, eval_every=1)

    def flat():
        task = toy.Toy()
        task.validate = lambda model: {"mse": 1.0}
        return task

    seen = []
    run = Run.create(tmp_path / "run", default="toy")
    fit(flat(), config, run, progress=seen.append, should_stop=lambda: len(seen) == 2)
    result = fit(flat(), config, run)
    assert (result.stopped_by, result.steps, result.best["step"]) == ("patience", 5, 1)


def test_the_default_generator_is_as_before(toy):
    before = torch.get_rng_state()
    task = toy.Toy()  # seeds it, as an app would in `seeded`
    torch.set_rng_state(before)
    fit(task, toy.SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": 0.01}, "learning_rate 0.05, now 0.01"),
        ({"seed": 5, "clip": None}, "clip 1.0, now None; seed 0, now 5"),
        ({"batch_size": 8}, "examples per step 8, now 16"),
    ],
)
def test_other_settings_are_refused(toy, whole, changes, words):
    with pytest.raises(CheckpointError, match="was started with other settings") as error:
        fit(toy.Toy(), dataclasses.replace(toy.SETTINGS, **changes), whole[2])
    assert error.value.seen == words
    assert "another --out" in error.value.fix


def test_other_data_and_another_model_are_refused(toy, whole):
    with pytest.raises(CheckpointError, match="training examples 37, now 36"):
        fit(toy.Toy(36), toy.SETTINGS, whole[2])
    with pytest.raises(CheckpointError, match="weights do not fit the model"):
        fit(toy.Toy(dropout=0.0), toy.SETTINGS, whole[2])


@pytest.mark.parametrize("damage", ["cut off", "zeros", "empty", "header"])
def test_a_torn_checkpoint_falls_back_to_the_one_before(toy, whole, tmp_path, caplog, damage):
    run = Run.create(tmp_path / "run", default="toy")
    seen = []
    fit(toy.Toy(), toy.SETTINGS, run, progress=seen.append, should_stop=lambda: len(seen) == 8)
    current = run.path / CURRENT
    data = current.read_bytes()
    torn = {
        "cut off": data[: len(data) // 2],
        "zeros": data[:-1000] + bytes(1000),
        "empty": b"",
        "header": data[:100] + b"}" * 20 + data[120:],
    }[damage]
    current.write_bytes(torn)
    older = read_checkpoint_alone(run.path / PREVIOUS, tmp_path)
    with caplog.at_level(logging.WARNING, "statewise"):
        assert read_checkpoint(run.path).position.step == older.position.step < 8
    assert f"{current}: is damaged" in caplog.text
    assert "the run goes on from the checkpoint before it" in caplog.text

    again = toy.Toy()
    fit(again, toy.SETTINGS, Run.open(run.path))
    assert_same_weights(again.model.state_dict(), whole[0].model.state_dict())


def read_checkpoint_alone(path, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / CURRENT).write_bytes(path.read_bytes())
    return read_checkpoint(alone)


def test_damaged_metrics_are_written_again_from_the_checkpoint(toy, whole, tmp_path):
    run = Run.create(tmp_path / "run", default="toy")
    seen = []
    fit(toy.Toy(), toy.SETTINGS, run, progress=seen.append, should_stop=lambda: len(seen) == 8)
    (run.path / "metrics.jsonl").write_bytes(bytes(100))
    fit(toy.Toy(), toy.SETTINGS, run)
    assert toy.without_times(run.metrics()) == toy.without_times(whole[2].metrics())


def test_two_torn_checkpoints_are_said(toy, tmp_path):
    run = Run.create(tmp_path / "run", default="toy")
    (run.path / CURRENT).write_bytes(b"")
    (run.path / PREVIOUS).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"checkpoint\.previous\.safetensors: is damaged"):
        fit(toy.Toy(), toy.SETTINGS, run)


def test_sigkill_at_any_moment_and_resume_equal_the_whole_run(toy, whole, start_toy, tmp_path):
    process = start_toy("kills", tmp_path)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    signals = json.loads((tmp_path / "signals.json").read_text(encoding="utf-8"))
    assert all(first == 9 and last == 0 for first, _, last in signals.values()), signals
    task, _, whole_run = whole
    for name in signals:
        run = Run.open(tmp_path / name)
        again = toy.Toy()
        run.load_weights(again.model)
        assert_same_weights(again.model.state_dict(), task.model.state_dict())
        assert toy.without_times(run.metrics()) == toy.without_times(whole_run.metrics()), name
        assert not list(run.path.glob(".*"))
