"""The two sets that enhancement is measured on. Nothing in them trained, validated or chose anything."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.results import Data, data_file
from statewise.speech.corpus import FULL, read_corpus
from statewise.speech.validation import mixtures

RATE = 16_000
SNRS = (0, 5, 10)


@dataclass(frozen=True)
class Utterance:
    name: str
    noisy: np.ndarray
    clean: np.ndarray


def folder() -> Path:
    """Where the recordings are."""
    return data_file("speech/manifest.csv").parent


def voicebank() -> list[Utterance]:
    """14 utterances of p232 of the VoiceBank+DEMAND test set."""
    root = folder() / "vb_p232"
    noisy = {clip.name: clip.samples for clip in read_corpus([root / "noisy"]).clean}
    return [
        Utterance(clip.name.removesuffix(".flac"), noisy[clip.name] / FULL, clip.samples / FULL)
        for clip in read_corpus([root / "clean"]).clean
    ]


def mixes(snr: int) -> list[Utterance]:
    """Test voices in test noises (coffee shop, train), speech at -26 dB, seed 0."""
    found = read_corpus([folder() / "test" / "clean"], [folder() / "test" / "noise"])
    pairs = mixtures(found.clean, found.noise, (float(snr),), sample_rate=RATE)
    return [
        Utterance(clip.name.removesuffix(".flac"), pair.noisy, pair.clean)
        for clip, pair in zip(found.clean, pairs, strict=True)
    ]


def all_sets() -> dict[str, list[Utterance]]:
    return {"voicebank": voicebank()} | {f"mix{snr}": mixes(snr) for snr in SNRS}


def official(name: str) -> Path:
    """The output of the released FRCRN for an utterance of `voicebank`."""
    return folder() / "vb_p232" / "frcrn_official" / f"{name}.flac"


def fingerprints(wanted: tuple[str, ...] = ("vb_p232/", "test/")) -> tuple[Data, ...]:
    """The files whose paths begin so, from the manifest of the data."""
    with open(data_file("speech/manifest.csv"), encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith(wanted)]
    facts = ("sha256", "origin", "licence")
    return tuple(Data(file=row["path"], **{name: row[name] for name in facts}) for row in rows)
