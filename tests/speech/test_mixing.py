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
from statewise.speech.filters import Shaper, computed_room
from statewise.speech.mixing import Mixer, MixingConfig, active_rms, mixed
from statewise.speech.validation import babble, held_out, mixtures, paired
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
    noisy, clean = mixer.draw(np.random.default_rng(seed), 3)
    assert noisy.shape == clean.shape == (3, 8000)
    assert noisy.dtype == clean.dtype == np.float32
    assert np.isfinite(noisy).all()
    assert (np.abs(clean).max(axis=1) > 0).all()
    again = mixer.draw(np.random.default_rng(seed), 3)
    assert np.array_equal(again[0], noisy)
    assert not np.array_equal(mixer.draw(np.random.default_rng(seed + 100), 3)[0], noisy)


def test_noise_is_as_narrow_as_the_speaker():
    mixer = Mixer(corpus(band=3500.0), MixingConfig(seconds=1.0, snr=(0.0, 0.0), synthetic=1.0, babble=0.0))
    noisy, _ = mixer.draw(np.random.default_rng(0), 10)
    power = np.square(np.abs(np.fft.rfft(noisy * np.hanning(RATE))))
    assert np.median(power[:, 5000:].sum(axis=1) / power.sum(axis=1)) < 1e-6


def test_drawn_mixtures_keep_ratio_and_level():
    config = MixingConfig(seconds=1.0, snr=(3.0, 3.0), level=(-30.0, -30.0), reverberation=0.5)
    noisy, clean = Mixer(corpus(), config).draw(np.random.default_rng(0), 12)
    noise = np.sqrt(np.square(noisy - clean).mean(axis=1))
    ratios = 20 * np.log10(active_rms(clean, RATE) / noise)
    assert np.allclose(ratios, 3.0, atol=0.02)
    assert np.allclose(20 * np.log10(active_rms(clean, RATE)), -30.0, atol=0.02)


def test_a_computed_room_begins_with_its_direct_sound_and_dies_away():
    response = computed_room(np.random.default_rng(0), RATE)
    assert np.argmax(np.abs(response)) == 0
    assert np.square(response[-800:]).sum() < 0.01 * np.square(response[1:]).sum()


def test_a_filter_acts_as_the_convolution_with_its_response():
    rng = np.random.default_rng(3)
    shaper = Shaper(4000, 2000, RATE)
    x, response = rng.standard_normal(4000).astype(np.float32), computed_room(rng, RATE)[:1000]
    y = shaper.apply(x[None], shaper.room(response)[None])[0]
    assert np.allclose(y, np.convolve(x, response)[:4000], atol=1e-4)


def test_a_low_pass_takes_away_what_is_above():
    shaper = Shaper(RATE, 0, RATE)
    x = np.random.default_rng(4).standard_normal((1, RATE)).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(shaper.apply(x, shaper.low_pass(4000.0)[None])[0])))
    assert power[5000:].sum() < 1e-3 * power[:3500].sum()


def test_babble_is_several_voices_of_the_length_asked_for():
    made = babble(corpus(5).clean, sample_rate=RATE, seconds=2.0)
    assert len(made.samples) == 2 * RATE
    assert 0.4 < np.abs(made.samples.astype(np.float64)).max() / 32768 <= 0.51


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


def test_recordings_are_played_faster_and_slower():
    tone = np.sin(2 * np.pi * 1000 * np.arange(4 * RATE) / RATE)
    part = Corpus(sample_rate=RATE, clean=(clip("t", "t", 0.5 * tone),), noise=(), responses=())
    still = {"seconds": 1.0, "reverberation": 0.0, "equaliser": (0.0, 0.0), "band_limit": 0.0}
    found = []
    for most in (0.0, 0.2):
        mixer = Mixer(part, MixingConfig(**still, speed=(most, 0.0)))
        _, clean = mixer.draw(np.random.default_rng(0), 8)
        found.append(np.abs(np.fft.rfft(clean)).argmax(axis=1))  # in Hz: the examples last a second
    assert (found[0] == 1000).all()
    assert (abs(found[1] - 1000) <= 200).all()
    assert len(set(found[1].tolist())) == 8


def test_a_change_of_speed_has_bounds():
    with pytest.raises(ConfigError, match="speed"):
        MixingConfig(speed=(0.1, 1.0))
