"""Mixtures have the ratio and the level they were asked for, and are drawn again alike from one seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import ConfigError, DataError
from statewise.speech.corpus import Clip, Corpus, read_corpus
from statewise.speech.mixing import Mixer, MixingConfig, active_rms, mixed
from statewise.speech.validation import held_out, mixtures, paired
from tests.speech.sounds import hum

RATE = 16_000


def clip(name: str, group: str, x: np.ndarray, band: float = 8000.0) -> Clip:
    samples = np.round(32767 * np.clip(x, -1, 1)).astype(np.int16)
    return Clip(name=name, group=group, samples=samples, band=band)


def corpus(speakers: int = 4, band: float = 8000.0) -> Corpus:
    rng = np.random.default_rng(1)
    clean = tuple(clip(f"{i}", f"s{i}", hum(0.7 + 0.2 * i, RATE)[:, 0], band) for i in range(speakers))
    noise = tuple(clip(f"n{i}", f"n{i}", 0.1 * rng.standard_normal(8000)) for i in range(3))
    room = clip("r", "r", np.exp(-np.arange(4000) / 500) * rng.standard_normal(4000) / 4)
    return Corpus(sample_rate=RATE, clean=clean, noise=noise, responses=(room,))


@given(snr=st.floats(-10, 30), level=st.floats(-60, -20))
def test_ratio_and_level_are_those_asked_for(snr: float, level: float):
    speech = hum(1.0, RATE)[:, 0]
    noise = np.random.default_rng(2).standard_normal(RATE)
    noisy, clean = mixed(speech, noise, snr, level, RATE)
    fit = 1.0 if np.abs(noisy).max() < 0.98 else np.abs(clean).max() / np.abs(speech).max()
    added = noisy - clean
    ratio = 20 * np.log10(active_rms(clean, RATE) / np.sqrt(np.mean(np.square(added))))
    assert ratio == pytest.approx(snr, abs=0.01)
    assert np.abs(noisy).max() <= 0.9901
    if fit == 1.0:
        assert 20 * np.log10(active_rms(clean, RATE)) == pytest.approx(level, abs=0.01)


def test_pauses_do_not_count_in_the_level():
    x = hum(1.0, RATE)[:, 0]
    padded = np.concatenate([x, np.zeros(5 * RATE)])
    assert active_rms(padded, RATE) == pytest.approx(active_rms(x, RATE), rel=1e-3)
    assert active_rms(np.zeros(100), RATE) == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_draws_are_finite_of_one_length_and_repeatable(seed: int):
    mixer = Mixer(corpus(), MixingConfig(seconds=0.5, reverberation=0.5))
    noisy, clean = mixer.draw(np.random.default_rng(seed))
    assert noisy.shape == clean.shape == (8000,)
    assert noisy.dtype == clean.dtype == np.float32
    assert np.isfinite(noisy).all()
    assert np.abs(clean).max() > 0
    again = mixer.draw(np.random.default_rng(seed))
    assert np.array_equal(again[0], noisy)
    assert not np.array_equal(mixer.draw(np.random.default_rng(seed + 100))[0], noisy)


def test_noise_is_as_narrow_as_the_speaker():
    mixer = Mixer(corpus(band=3500.0), MixingConfig(seconds=1.0, snr=(0.0, 0.0), synthetic=1.0, babble=0.0))
    shares = []
    for seed in range(10):
        noisy, _ = mixer.draw(np.random.default_rng(seed))
        power = np.square(np.abs(np.fft.rfft(noisy)))
        shares.append(power[5000:].sum() / power.sum())
    assert np.median(shares) < 1e-6


def test_pairs_are_different_speakers_at_similar_levels():
    mixer = Mixer(corpus(), MixingConfig(seconds=0.5))
    sources = mixer.pair(np.random.default_rng(0), 2)
    assert sources.shape == (2, 8000)
    levels = [20 * np.log10(active_rms(one, RATE)) for one in sources]
    assert abs(levels[0] - levels[1]) < 8


def test_settings_are_bounded():
    with pytest.raises(ConfigError, match="snr"):
        MixingConfig(snr=(5.0, 0.0))
    with pytest.raises(ConfigError, match="babble"):
        MixingConfig(babble=1.5)


def folder(path: Path, names: list[str], seconds: float = 0.5, rate: int = RATE) -> Path:
    for number, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path / name, hum(seconds + 0.01 * number, rate, 2), rate)
    return path


def test_speakers_come_from_folders_or_names(tmp_path: Path):
    names = ["anna/1.wav", "anna/2.wav", "bert__1.flac", "bert__2.flac", "lone.wav"]
    found = read_corpus([folder(tmp_path, names, rate=8000)])
    assert [one.group for one in found.clean] == ["anna", "anna", "bert", "bert", "lone"]
    assert all(abs(len(one.samples) - 8000) < 700 for one in found.clean)
    assert all(one.band <= 4600 for one in found.clean)  # they were 8 kHz files
    assert read_corpus([tmp_path]).fingerprint == found.fingerprint


def test_files_that_cannot_be_used_are_told(tmp_path: Path):
    folder(tmp_path, ["a.wav"])
    (tmp_path / "b.wav").write_text("text")
    soundfile.write(tmp_path / "c.wav", np.zeros(10), RATE)
    found = read_corpus([tmp_path])
    assert len(found.clean) == 1
    assert "b.wav" in found.left_out[0]
    assert "c.wav: is shorter than 0.1 s" in found.left_out[1]
    with pytest.raises(DataError, match="no recording of clean speech"):
        read_corpus([tmp_path / "b.wav"])
    with pytest.raises(DataError, match="no such file or folder"):
        read_corpus([tmp_path / "nowhere"])


def test_held_out_speakers_do_not_train():
    rest, voices, noise = held_out(corpus(10), 0.2)
    assert {one.group for one in voices} == {"s8", "s9"}
    assert not {one.group for one in rest.clean} & {one.group for one in voices}
    assert not {one.group for one in rest.noise} & {one.group for one in noise}


def test_validation_mixtures_cycle_through_noises_and_ratios():
    data = corpus(6)
    pairs = mixtures(data.clean, data.noise[:2], [0.0, 20.0], sample_rate=RATE)
    ratios = []
    for pair in pairs:
        added = np.sqrt(np.mean(np.square(pair.noisy - pair.clean)))
        ratios.append(20 * np.log10(active_rms(pair.clean, RATE) / added))
    assert np.allclose(ratios, [0, 0, 20, 20, 0, 0], atol=0.1)


def test_paired_folders_must_fit(tmp_path: Path):
    clean = folder(tmp_path / "clean", ["a.wav", "b.wav"])
    noisy = folder(tmp_path / "noisy", ["a.wav", "b.wav"])
    assert len(paired(clean, noisy, sample_rate=RATE)) == 2
    (noisy / "b.wav").unlink()
    with pytest.raises(DataError, match="no noisy recording"):
        paired(clean, noisy, sample_rate=RATE)
