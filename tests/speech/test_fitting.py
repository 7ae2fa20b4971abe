"""Fits on a few seconds of sound: they improve, resume to the bit, refuse other data, keep a model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from statewise.core.errors import CheckpointError, ConfigError, DataError
from statewise.core.train import FitConfig, Run, fit
from statewise.speech import fitting, pretrained
from statewise.speech.cli import app
from statewise.speech.mixing import Mixer, MixingConfig
from statewise.speech.models import build
from statewise.speech.models.enhancer import Trained
from statewise.speech.models.recurrent_mask import RecurrentMaskConfig
from statewise.speech.settings import FitSettings
from statewise.speech.task import EnhancementTask, Pair
from statewise.speech.validation import mixtures
from tests.speech.sounds import hum
from tests.speech.test_mixing import corpus

MODEL = "recurrent-mask-tiny"


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for number in range(4):
        (root / "clean").mkdir(exist_ok=True)
        soundfile.write(root / "clean" / f"s{number}__a.wav", hum(1.0, 16_000), 16_000)
    (root / "noise").mkdir()
    soundfile.write(root / "noise" / "hiss.wav", 0.1 * rng.standard_normal(16_000), 16_000)
    return root


def settings(voices: Path, **changes: object) -> FitSettings:
    chosen = FitSettings(
        clean=(str(voices / "clean"),),
        noise=(str(voices / "noise"),),
        model=MODEL,
        mixing=MixingConfig(seconds=0.5),
        batch_size=4,
        eval_every=5,
        device="cpu",
        threads=1,
        budget=1e-3,
    )
    return replace(chosen, **changes)


def task(loss: str = "compressed") -> EnhancementTask:
    torch.manual_seed(0)
    data = corpus()
    pairs = mixtures(data.clean, data.noise, [0.0], sample_rate=16_000)
    mixer = Mixer(data, MixingConfig(seconds=0.3, snr=(0.0, 0.0), babble=0.0))
    return EnhancementTask(build(MODEL)[1], mixer, pairs, 40, loss)


@pytest.mark.parametrize("loss", ["compressed", "paper"])
def test_a_few_steps_lower_the_validation_loss(loss: str):
    problem = task(loss)
    config = FitConfig(
        epochs=None, steps=40, batch_size=4, learning_rate=3e-3, eval_every=20, device="cpu", seed=1
    )
    before = problem.validate(problem.model.eval())
    result = fit(problem, config)
    assert result.best["valid_loss"] < 0.9 * before["valid_loss"]


def test_a_resumed_fit_is_the_uninterrupted_one_to_the_bit(tmp_path: Path):
    config = FitConfig(
        epochs=None, steps=8, batch_size=2, eval_every=4, device="cpu", threads=1, save_every=0.0
    )
    whole = task()
    fit(whole, config, Run.create(tmp_path / "whole", default="x"))
    first, run = task(), Run.create(tmp_path / "parts", default="x")
    asked = iter([False, False, False, True])
    fit(first, config, run, should_stop=lambda: next(asked))
    second = task()
    fit(second, config, Run.open(run.path))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name


def test_fit_writes_a_model_that_enhances_in_a_fresh_process(voices: Path, tmp_path: Path):
    outcome = fitting.fit_run(settings(voices), out=tmp_path / "run")
    assert [one.method for one in outcome.scores] == [*fitting.BASELINES, MODEL]
    loaded = pretrained.load(str(tmp_path / "run"))
    noisy, enhanced, _ = outcome.example
    again = fitting._enhanced(loaded.model, noisy)
    assert np.abs(again - enhanced).max() < 1e-6
    assert loaded.metadata["steps"] == outcome.result.steps


def test_resume_refuses_other_data(voices: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(voices, copy)
    fitting.fit_run(settings(copy), out=tmp_path / "run")
    longer = fitting.resume_run(tmp_path / "run", budget=2.0)
    assert longer.settings == settings(copy, budget=2.0)
    assert longer.result.steps > 1
    soundfile.write(copy / "clean" / "s9__a.wav", hum(0.5, 16_000), 16_000)
    with pytest.raises(CheckpointError, match="began with other data"):
        fitting.resume_run(tmp_path / "run")


def test_weights_are_trained_further_and_their_steps_add_up(voices: Path, tmp_path: Path):
    first = fitting.fit_run(settings(voices), out=tmp_path / "first")
    start = str(first.run.path)
    second = fitting.new_model(settings(voices, start=start))
    for name, tensor in pretrained.load(start).model.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name
    further = fitting.fit_run(settings(voices, start=start), out=tmp_path / "further")
    steps = first.result.steps + further.result.steps
    assert pretrained.load(str(further.run.path)).metadata["steps"] == steps
    with pytest.raises(ConfigError, match="is not the model that is to be trained"):
        fitting.new_model(settings(voices, start=start, model="recurrent-mask-gru"))


def test_wrong_settings_are_refused_before_anything_is_read(voices: Path):
    with pytest.raises(ConfigError, match="no clean speech"):
        FitSettings(clean=())
    with pytest.raises(DataError, match="no such file or folder"):
        fitting.fit_run(settings(voices, clean=("nowhere",)))
    with pytest.raises(Exception, match="did you mean"):
        fitting.fit_run(settings(voices, clean=("nowhere",), model="recurent-mask"))


def test_command_fits_and_reports(voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["fit", "--clean", str(voices / "clean"), "--noise", str(voices / "noise"), "--model", MODEL]
    run = tmp_path / "run"
    assert app.run([*words, "--budget", "1", "--length", "0.5", "--out", str(run), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in document["scores"]] == [*fitting.BASELINES, MODEL]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "beat" in page
    assert "data:image/png" in page
    assert (run / "example.png").stat().st_size > 10_000


class Quiet(Trained):
    """Lets through a share of what comes in."""

    def __init__(self, share: float):
        super().__init__(RecurrentMaskConfig())
        self.share = share

    def forward(self, spectrum, state=None):
        return self.makeup * self.share * spectrum, None

    def initial_state(self, batch_size):
        return None


@pytest.mark.parametrize(("share", "factor"), [(0.7, 1 / 0.7), (0.2, 5.0), (1e-3, 1.0)])
def test_output_is_as_loud_as_the_speech_unless_there_is_none(share, factor):
    x = np.random.default_rng(0).normal(size=8_000).astype(np.float32)
    model = Quiet(share)
    model.makeup.fill_(2.0)  # of the weights that it started from
    fitting.make_up(model, [Pair(noisy=x, clean=x)])
    assert float(model.makeup) == pytest.approx(factor, rel=1e-3)
