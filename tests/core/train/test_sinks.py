from __future__ import annotations

import sys

import pytest

from statewise.core.errors import ConfigError, MissingExtraError
from statewise.core.train import FitConfig, Run, fit


def scalars(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return {tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_tensorboard_holds_the_metrics_also_after_a_resume(toy, tmp_path):
    run = Run.create(tmp_path / "run", default="toy")
    config = FitConfig(epochs=4, batch_size=8, log="tensorboard")
    seen = []
    fit(toy.Toy(), config, run, progress=seen.append, should_stop=lambda: len(seen) == 12)
    fit(toy.Toy(), config, run)
    rows = run.metrics()
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    written = scalars(run)
    assert written["mse"] == pytest.approx({row["step"]: row["mse"] for row in rows}, rel=1e-6)
    assert {"train_loss", "learning_rate", "epoch"} <= written.keys()


def test_the_extra_is_named_when_it_is_missing(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError) as error:
        fit(toy.Toy(), FitConfig(log="tensorboard"), Run.create(tmp_path / "run", default="toy"))
    assert error.value.fix == 'pip install "statewise-core[tensorboard]"'


def test_tensorboard_needs_a_run(toy):
    with pytest.raises(ConfigError, match="TensorBoard needs a run directory"):
        fit(toy.Toy(), FitConfig(log="tensorboard"))
