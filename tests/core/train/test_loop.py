from __future__ import annotations

import dataclasses
import math
import signal
import time

import pytest
import torch

from statewise.core.errors import DataError, Interrupted
from statewise.core.train import Diverged, FitConfig, Run, fit


def exact(toy, size=37):
    """A task without randomness."""
    return toy.Toy(size, dropout=0.0, noise=0.0, dtype=torch.float64)


def assert_close_weights(one, other):
    torch.testing.assert_close(one.model.state_dict(), other.model.state_dict(), rtol=1e-9, atol=1e-12)


def test_it_learns_and_keeps_the_best_weights(toy):
    task = exact(toy, 64)
    result = fit(task, FitConfig(epochs=60, batch_size=16, learning_rate=0.02))
    assert result.best["mse"] < 0.05 * result.history[0]["mse"]
    assert result.best == min(result.history, key=lambda row: row["mse"])
    assert task.validate(task.model)["mse"] == result.best["mse"]
    assert (result.stopped_by, result.steps, result.epochs) == ("epochs", 240, 60.0)


@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_accumulation_equals_the_big_batch(toy, accumulate):
    big, small = exact(toy), exact(toy)
    config = FitConfig(epochs=3, batch_size=8 * 3, learning_rate=0.05, clip=0.5)
    one = fit(big, config)
    parts = dataclasses.replace(config, batch_size=24 // accumulate, accumulate=accumulate)
    other = fit(small, parts)
    assert_close_weights(big, small)
    for a, b in zip(one.history, other.history, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-9)


def test_clipping_scales_the_whole_gradient(toy, monkeypatch):
    from statewise.core.train.optim import AdamW

    norms = []

    def spy(optimizer, rate):
        norms.append(float(torch.nn.utils.get_total_norm(optimizer.gradients())))

    monkeypatch.setattr(AdamW, "step", spy)
    fit(exact(toy), FitConfig(steps=1, clip=None, batch_size=37))
    fit(exact(toy), FitConfig(steps=1, clip=norms[0] / 2, batch_size=37))
    fit(exact(toy), FitConfig(steps=1, clip=norms[0] * 2, batch_size=37))
    assert norms[1:] == pytest.approx([norms[0] / 2, norms[0]], rel=1e-5)


def test_early_stop_waits_for_patience_and_goes_back_to_the_best(toy):
    task = exact(toy)
    scores = iter([5.0, 3.0, 4.0, 3.0, 6.0, 1.0])
    weights = []

    def validate(model):
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
        return {"mse": next(scores)}

    task.validate = validate
    result = fit(task, FitConfig(epochs=10, patience=3))
    assert result.stopped_by == "patience"
    assert [row["mse"] for row in result.history] == [5.0, 3.0, 4.0, 3.0, 6.0]
    assert result.best["step"] == result.history[1]["step"]
    assert all(torch.equal(a, b) for a, b in zip(task.model.parameters(), weights[1], strict=True))


@pytest.mark.parametrize("config", [FitConfig(epochs=9, steps=7), FitConfig(epochs=None, steps=7)])
def test_steps_end_a_run_within_an_epoch_with_an_evaluation(toy, config):
    result = fit(exact(toy), dataclasses.replace(config, batch_size=8))
    assert (result.stopped_by, result.steps) == ("steps", 7)
    assert [row["step"] for row in result.history] == [5, 7]
    assert result.epochs == pytest.approx(1 + 16 / 37)


@pytest.mark.parametrize("bound", ["budget", "deadline"])
def test_time_ends_a_run_at_a_step_that_the_checkpoint_records(toy, tmp_path, bound):
    run = Run.create(tmp_path / "run", default="toy")
    start = time.monotonic()
    if bound == "budget":
        result = fit(toy.Toy(), FitConfig(epochs=None, budget=0.4), run)
    else:
        result = fit(toy.Toy(), FitConfig(epochs=10**9), run, deadline=start + 0.4)
    assert result.stopped_by == bound
    assert result.steps > 0
    assert result.history[-1]["step"] == result.steps

    task = toy.Toy()
    again = fit(task, dataclasses.replace(FitConfig(epochs=10**9), steps=result.steps), run)
    assert (task.batches, again.steps) == (0, result.steps)
    assert again.seconds >= result.seconds - 0.2


def test_a_deadline_in_the_past_still_gives_finite_weights(toy):
    task = exact(toy)
    result = fit(task, FitConfig(), deadline=time.monotonic() - 1)
    assert (result.stopped_by, result.steps, result.best["train_loss"]) == ("deadline", 0, None)
    assert math.isfinite(result.best["mse"])


def test_the_last_evaluation_is_allowed_for_in_the_deadline(toy):
    task = exact(toy)
    validate = task.validate

    def slow(model):
        time.sleep(0.3)
        return validate(model)

    task.validate = slow
    start = time.monotonic()
    result = fit(task, FitConfig(epochs=10**6, eval_every=5), deadline=start + 0.5)
    assert result.stopped_by == "deadline"
    assert len(result.history) == 1


def test_the_training_loss_can_be_monitored(toy):
    task = exact(toy)
    task.monitor, task.validate = "train_loss", lambda model: {}
    result = fit(task, FitConfig(epochs=3))
    assert result.best["train_loss"] == min(row["train_loss"] for row in result.history)


def test_the_training_loss_of_a_row_is_the_mean_over_the_examples_since_the_last(toy):
    ticks = []
    result = fit(exact(toy), FitConfig(epochs=1, batch_size=16), progress=ticks.append)
    mean = (16 * ticks[0].loss + 16 * ticks[1].loss + 5 * ticks[2].loss) / 37
    assert result.history[0]["train_loss"] == pytest.approx(mean)
    assert [tick.fraction for tick in ticks] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert [tick.epoch for tick in ticks] == pytest.approx([16 / 37, 32 / 37, 1.0])


def test_dropout_is_on_in_training_and_off_in_validation(toy):
    task, modes = toy.Toy(), []
    loss, validate = task.loss, task.validate
    task.loss = lambda model, batch: modes.append(("loss", model.training)) or loss(model, batch)
    task.validate = lambda model: (
        modes.append(("validate", model.training, torch.is_grad_enabled())) or validate(model)
    )
    fit(task, FitConfig(epochs=2, batch_size=37))
    assert modes == [("loss", True), ("validate", False, False)] * 2


def test_equal_seeds_give_equal_weights_and_other_seeds_others(toy):
    def weights(seed):
        task = toy.Toy()
        fit(task, FitConfig(epochs=2, seed=seed))
        return torch.cat([parameter.flatten() for parameter in task.model.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(toy, tmp_path):
    task = toy.Toy()
    loss = task.loss
    task.loss = lambda model, batch: loss(model, batch) * (math.nan if task.batches == 8 else 1.0)
    run = Run.create(tmp_path / "run", default="toy")
    with pytest.raises(Diverged) as error:
        fit(task, FitConfig(epochs=5, batch_size=8, learning_rate=0.05, schedule="constant"), run)
    assert str(error.value) == (
        "step 8, epoch 1.43, learning rate 0.05: the training loss is not finite\n"
        "  seen: loss nan\n"
        "  expected: finite numbers\n"
        "  fix: try --learning-rate 0.005, a smaller --clip or a longer --warmup-steps; "
        "if it fails in the first steps, look for huge values in the data"
    )
    assert all(torch.isfinite(parameter).all() for parameter in task.model.parameters())
    assert task.validate(task.model)["mse"] == pytest.approx(run.metrics()[0]["mse"])


def test_a_gradient_that_is_not_finite_names_the_parameter(toy):
    task = exact(toy)
    task.loss = lambda model, batch: (model[2].weight - model[2].weight.detach()).sqrt().sum()
    with pytest.raises(Diverged, match="the gradient is not finite") as error:
        fit(task, FitConfig(clip=None))
    assert "gradient norm inf, first in '2.weight'" in error.value.seen


def test_a_monitored_metric_that_is_nan_is_said(toy):
    task = exact(toy)
    task.validate = lambda model: {"mse": math.nan}
    with pytest.raises(Diverged, match="the validation metric 'mse' is NaN") as error:
        fit(task, FitConfig(batch_size=8))
    assert error.value.where.startswith("step 5, learning rate")


def test_other_metrics_may_be_infinite_and_are_kept_as_none(toy, tmp_path):
    task = exact(toy)
    task.validate = lambda model: {"mse": 1.0, "ratio": math.inf}
    run = Run.create(tmp_path / "run", default="toy")
    fit(task, FitConfig(epochs=1), run)
    assert run.metrics()[0]["ratio"] is None


def test_an_unknown_monitor_is_a_defect_of_the_task(toy):
    task = exact(toy)
    task.monitor = "mae"
    with pytest.raises(KeyError, match=r"the task monitors 'mae', but its metrics are step, epoch, .*, mse"):
        fit(task, FitConfig(epochs=1))


def test_no_example_is_said(toy):
    with pytest.raises(DataError, match="there is no training example"):
        fit(toy.Toy(0), FitConfig())


def test_a_signal_stops_at_the_next_step_and_handlers_are_given_back(toy, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    task, ticks = toy.Toy(), []

    def progress(tick):
        ticks.append(tick)
        if tick.step == 7:
            signal.raise_signal(signal.SIGTERM)

    run = Run.create(tmp_path / "run", default="toy")
    with pytest.raises(Interrupted, match=f"stopped at step 7; .* --resume {run.path}"):
        fit(task, toy.SETTINGS, run, progress=progress)
    assert len(ticks) == 7
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    whole = toy.Toy()
    fit(whole, toy.SETTINGS)
    fit(task, toy.SETTINGS, run)
    assert all(
        torch.equal(a, b) for a, b in zip(task.model.parameters(), whole.model.parameters(), strict=True)
    )


def test_the_second_signal_does_not_wait(toy):
    def progress(tick):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(toy.Toy(), FitConfig(), progress=progress)


def test_an_interrupted_process_keeps_the_best_and_exits_with_130(toy, start_toy, tmp_path):
    process = start_toy("slow", tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    give_up = time.monotonic() + 60
    while not metrics.exists() and time.monotonic() < give_up:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"the best weights and a checkpoint are kept: go on with --resume {tmp_path / 'run'}" in err
    run, task = Run.open(tmp_path / "run"), toy.Toy()
    run.load_weights(task.model)
    task.model.eval()
    with torch.no_grad():
        best = min(row["mse"] for row in run.metrics())
        assert task.validate(task.model)["mse"] == pytest.approx(best, rel=1e-6)
    result = fit(toy.Toy(), FitConfig(epochs=10_000, steps=1, batch_size=8), run)
    assert result.steps >= 5  # it went on from the checkpoint, which is past that bound
