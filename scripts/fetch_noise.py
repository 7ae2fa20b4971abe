"""Recordings of noise beyond those of the benchmark's folder, from public repositories, for the weights.

    uv run python scripts/fetch_noise.py DIR

Clones each repository at its commit and writes DIR/more/noise/KIND__REPOSITORY_NUMBER.flac, 16 kHz, one
channel, at most 150 s each, and DIR/more/manifest.csv with origin and licence. Kinds that choose the weights
(`HELD_OUT` of train_speech_weights.py) are left out.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from train_speech_weights import HELD_OUT  # its neighbour in this folder

RATE = 16_000
LONGEST = 150
"""Seconds of a recording."""
SHORTEST = 0.1


class Collection(NamedTuple):
    """A repository with recordings."""

    repository: str
    commit: str
    licence: str
    grouped: bool = False
    """Whether its short effects are one kind together; else every file is a kind."""


COLLECTIONS = {
    "moodist": Collection(
        "remvze/moodist",
        "983f7412e8cd054e76d156977c563da2028e4428",
        "Pixabay Content License or CC0 (repo does not say which per sound)",
    ),
    "noisekun": Collection(
        "mateusfg7/Noisekun",
        "d32024c67aba7c0577e1609944af00b9df1b7775",
        "CC0 or CC BY (credits table of the repo)",
    ),
    "noixer": Collection("abetusk/noixer", "24919a4b33e3604516482832d983e2b1770ef402", "CC0 1.0 (README)"),
    "minetest": Collection(
        "minetest/minetest_game",
        "d38b8e665723d90d2f3c73e26d2b00066451760d",
        "CC0, CC BY 3.0 or CC BY-SA 3.0 (README of each module)",
        grouped=True,
    ),
    "opensfx": Collection(
        "OpenTTD/OpenSFX",
        "71892caa2db3f87e7c16aabf26f32c4c7ae7dca2",
        "CC Sampling Plus 1.0 or a more permissive one per sound (repo)",
        grouped=True,
    ),
}


def main() -> None:
    """Clone, convert, list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the training data")
    target = parser.parse_args().data / "more"
    (target / "noise").mkdir(parents=True)
    rows: list[dict[str, str]] = []
    for name, collection in COLLECTIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            clone(collection, Path(folder))
            rows += convert(name, collection, Path(folder), target)
        print(f"{name}: {len(rows)} recordings so far")
    with (target / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["path", "role", "origin", "licence"])
        writer.writeheader()
        writer.writerows(rows)


def clone(collection: Collection, folder: Path) -> None:
    """The repository at its commit."""
    source = f"https://github.com/{collection.repository}"
    subprocess.run(["git", "clone", "--quiet", source, str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "checkout", "--quiet", collection.commit], check=True)


def convert(name: str, collection: Collection, folder: Path, target: Path) -> list[dict[str, str]]:
    """Every recording of a repository as FLAC; a row of the manifest for each."""
    rows = []
    for path in sorted(folder.rglob("*")):
        kind = name if collection.grouped else kind_of(path)
        if path.suffix.lower() not in (".mp3", ".ogg", ".wav", ".flac") or left_out(kind):
            continue
        x = recording(path.read_bytes())
        if x is None:
            continue
        place = Path("noise") / f"{kind}__{name}_{len(rows):04d}.flac"
        soundfile.write(target / place, x, RATE)
        origin = f"{collection.repository}@{collection.commit}"
        rows.append({"path": str(place), "role": "noise", "origin": origin, "licence": collection.licence})
    return rows


def kind_of(path: Path) -> str:
    """What a file is called, without its number."""
    words = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    return re.sub(r"-?\d+$", "", words) or "unnamed"


def left_out(kind: str) -> bool:
    """Kinds that choose the weights, and noise that the mixer computes itself."""
    return "noise" in kind or any(held in kind for held in HELD_OUT)


def recording(content: bytes) -> np.ndarray | None:
    """The samples (N,) at 16 kHz; None where nothing is to be heard."""
    x, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    x = np.asarray(soxr.resample(x[: rate * LONGEST].mean(1), rate, RATE), np.float32)
    loudest = float(np.abs(x).max(initial=0.0))
    if len(x) < SHORTEST * RATE or loudest < 1e-3:
        return None
    return x / max(1.0, loudest / 0.98)


if __name__ == "__main__":
    main()
