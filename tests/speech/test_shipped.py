"""The weights in the package: small, credited, quick to load, better than the input on real recordings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from statewise.speech import metrics, pretrained
from statewise.speech.models import DEFAULT
from statewise.speech.models.enhancer import enhance
from statewise.speech.validation import paired


@pytest.mark.parametrize("name", sorted(pretrained.shipped()))
def test_weights_are_small_and_have_a_card(name: str):
    folder = pretrained.shipped()[name]
    assert (folder / "weights.safetensors").stat().st_size <= 5_000_000
    card = (folder / "CARD.md").read_text(encoding="utf-8")
    for word in ("CC BY-SA 3.0", "CC BY 4.0", "CC0", "Allison Smith", "June Wallack", "Carlo Flora", "steps"):
        assert word in card
    assert str(pretrained.load(name).metadata["steps"]) in card.replace(",", "")


def test_default_is_shipped_and_streams():
    assert DEFAULT in pretrained.shipped()
    assert pretrained.load(DEFAULT).model.streaming


def test_shipped_weights_take_noise_out_of_real_recordings(real_data: Path):
    root = real_data / "speech" / "vb_train6"
    if not root.is_dir():
        pytest.skip("the recordings are not there")
    model = pretrained.load(DEFAULT).model
    gains, levels = [], []
    for pair in paired(root / "clean", root / "noisy", sample_rate=16_000):
        with torch.no_grad():
            y = enhance(model, torch.from_numpy(pair.noisy)[None])[0].numpy()
        gains.append(metrics.si_sdr(y, pair.clean) - metrics.si_sdr(pair.noisy, pair.clean))
        levels.append(20 * np.log10(np.std(y) / np.std(pair.clean)))
    assert np.mean(gains) > 0.5
    assert abs(np.mean(levels)) < 3


def test_help_does_not_load_what_it_does_not_need():
    code = (
        "import sys\n"
        "from statewise.speech.cli import app\n"
        "app.run(['--help'])\n"
        "print([m for m in ('torch', 'numpy', 'soundfile', 'scipy', 'matplotlib') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
