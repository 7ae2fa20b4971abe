"""MossFormer2: its size to the integer, its attention against plain sums, speakers that stay put."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from statewise.core.train import FitConfig, fit
from statewise.speech import pretrained
from statewise.speech.cli import app
from statewise.speech.losses import si_snr
from statewise.speech.mixing import Mixer, MixingConfig
from statewise.speech.models import build
from statewise.speech.models.mossformer2 import MossFormer2, MossFormer2Config
from statewise.speech.models.mossformer_parts import GatedAttention, Rotary
from statewise.speech.models.separator import Separator
from statewise.speech.separation import (
    OVERLAP,
    WINDOW,
    SeparationTask,
    best_order,
    permutation_loss,
    separated,
)
from tests.speech.sounds import hum
from tests.speech.test_mixing import corpus

SMALL = {"width": 16, "inner": 8, "keys": 8, "depth": 1, "group": 16}


@pytest.mark.parametrize(("speakers", "parameters"), [(2, 55_735_410), (3, 55_998_066)])
def test_number_of_parameters(speakers: int, parameters: int):
    model = MossFormer2(MossFormer2Config(speakers=speakers))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("samples", [1, 7, 8, 16, 1000, 1001])
def test_length_is_kept(samples: int):
    model = MossFormer2(MossFormer2Config(**SMALL)).eval()
    with torch.no_grad():
        assert model(torch.randn(2, samples)).shape == (2, 2, samples)


def test_every_parameter_is_used():
    model = MossFormer2(MossFormer2Config(**SMALL))
    model(torch.randn(2, 400)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_attention_is_the_sum_over_groups_and_over_everything():
    torch.manual_seed(0)
    layer = GatedAttention(4, 6, 3, Rotary(6), 0.1).double().eval()
    heads = torch.randn(1, 7, 4, 6, dtype=torch.float64)
    values = torch.randn(1, 7, 5, dtype=torch.float64)
    made = layer._attend(heads, values)
    q, lin_q, k, lin_k = heads[0].unbind(1)
    for t in range(7):
        expected = sum(
            torch.relu(q[t] @ k[s] / 3) ** 2 * values[0, s] for s in range(t // 3 * 3, min(7, t // 3 * 3 + 3))
        )
        expected = expected + sum((lin_q[t] @ lin_k[s]) * values[0, s] for s in range(7)) / 7
        assert torch.allclose(made[0, t], expected, atol=1e-12)


def test_rotation_keeps_lengths_and_depends_on_distances_only():
    rotary = Rotary(8).double()
    x = torch.randn(1, 1, 1, 8, dtype=torch.float64).expand(1, 9, 1, 8)
    y = rotary(x)
    assert torch.allclose(y.norm(dim=-1), x.norm(dim=-1))
    products = torch.einsum("lk,mk->lm", y[0, :, 0], y[0, :, 0])
    assert torch.allclose(products[0, 3], products[5, 8])


def test_loss_is_that_of_the_best_order():
    sources = torch.randn(3, 2, 500)
    estimates = sources + 0.1 * torch.randn(3, 2, 500)
    straight = -si_snr(estimates, sources).mean(1)
    assert torch.allclose(permutation_loss(estimates, sources), straight)
    assert torch.allclose(permutation_loss(estimates.flip(1), sources), straight)


def test_training_separates_two_voices_better_than_the_mixture():
    torch.manual_seed(0)
    mixer = Mixer(corpus(), MixingConfig(seconds=0.25))
    validation = [mixer.pair(np.random.default_rng(seed), 2) for seed in range(4)]
    task = SeparationTask(build("mossformer2", SMALL)[1], mixer, validation, 40)
    before = task.validate(task.model.eval())["valid_si_sdr_gain"]
    fit(task, FitConfig(epochs=None, steps=30, batch_size=2, learning_rate=3e-3, device="cpu", threads=1))
    assert task.validate(task.model)["valid_si_sdr_gain"] > before + 1


class Swapping(Separator):
    """A perfect separator of a tone at +1 and one at -1 s, whose outputs come in another order every time."""

    def __init__(self, rate: int, sources: np.ndarray) -> None:
        super().__init__(MossFormer2Config(sample_rate=rate, **SMALL))
        self.sources, self.at, self.calls = torch.from_numpy(sources), 0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = self.sources[:, self.at : self.at + x.shape[1]]
        self.at += round((WINDOW - OVERLAP) * self.config.sample_rate)
        self.calls += 1
        gains = torch.tensor([[3.0], [0.2]])  # scales mean nothing to a separator
        return (gains * (part.flip(0) if self.calls % 2 else part))[None]


def test_speakers_do_not_swap_over_a_minute():
    rate = 1000
    t = np.arange(60 * rate) / rate
    sources = np.stack([np.sin(2 * np.pi * 50 * t), 0.7 * np.sin(2 * np.pi * 77 * t)])
    sources = (sources * (1 + 0.3 * np.sin(t))).astype(np.float32)
    model = Swapping(rate, sources)
    made = separated(model, sources.sum(0))
    assert model.calls > 5
    assert made.shape == sources.shape
    order = best_order(made, sources)
    assert np.abs(made[list(order)] - sources).max() < 0.02


def test_command_writes_a_file_per_speaker(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    _, model = build("mossformer2", SMALL)
    pretrained.save(tmp_path / "model", "mossformer2", model, {})
    soundfile.write(tmp_path / "mix.wav", hum(1.0, 44_100, 2), 44_100)
    words = ["separate", str(tmp_path / "mix.wav"), "--model", str(tmp_path / "model")]
    assert app.run([*words, "--out", str(tmp_path / "out")]) == 0
    for number in (1, 2):
        info = soundfile.info(tmp_path / "out" / f"mix-speaker{number}.wav")
        assert (info.frames, info.samplerate, info.channels) == (44_100, 44_100, 1)
    assert app.run(["enhance", *words[1:]]) == 2
    assert "speech separate" in capsys.readouterr().err
