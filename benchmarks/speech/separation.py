"""MossFormer2 of the preset tiny: how far it separates two voices that it has not heard, and if they swap.

The run is kept in a run directory, so that the script can be stopped and started again; MINUTES is its budget
in all.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from benchmarks.results import ROOT, Column, Ledger, Result, Table, publish, versions
from benchmarks.speech import sets
from statewise.core.train import FitConfig, Run, fit, seeded
from statewise.speech.corpus import FULL, Clip, Corpus, read_corpus
from statewise.speech.losses import si_snr
from statewise.speech.mixing import Mixer, MixingConfig, active_rms
from statewise.speech.models import build
from statewise.speech.models.separator import Separator
from statewise.speech.separation import SeparationTask, best_order, separated

NAME = "speech/separation"
MODEL = "mossformer2-tiny"
MINUTES = 60
RATE, SECONDS, BATCH, LEARNING_RATE, EPOCH = 8000, 2.0, 4, 1e-3, 1000
VALIDATED, TESTED, LONG = 48, 200, 8
PIECES = (2.0, 6.0)
"""Seconds; a window moves by the longer one."""
TEST, VALIDATION, EVERY = 0, 4, 8
"""Of the readers of LibriSpeech, by name in order, every eighth tests, every eighth chooses."""
PROTOCOL = {
    "speakers": "the bundle's: studio prompts, readers of LibriSpeech and VCTK and single voices; of the "
    "readers of LibriSpeech every eighth tests, together with the test voice, and every eighth chooses, "
    "together with the validation voices; none of them trains",
    "mixtures": f"two speakers at {RATE / 1000:g} kHz, drawn anew for training ({SECONDS:g} s, up to 10 % "
    f"faster or slower, coloured); {TESTED} of 4 s for the test, as recorded, up to 5 dB apart",
    "training": f"permutation-invariant SI-SNR, AdamW, peak rate {LEARNING_RATE:g}, cosine to 2 %, batch "
    f"{BATCH}, {MINUTES} minutes of wall time on one thread",
    "long files": f"{LONG} files of 60 s, in which both voices talk all the time; separated in windows. A "
    "piece is in place if the order that suits it best is that of its whole file",
    "threads": "one",
}


def main() -> None:
    torch.set_num_threads(1)
    found = recordings()
    parts = corpora(found)
    with seeded(0):
        _, model = build(MODEL)
    assert isinstance(model, Separator)
    drawn = mixtures(parts["validation"], VALIDATED, seed=1)
    mixer = Mixer(parts["train"], MixingConfig(seconds=SECONDS))
    task = SeparationTask(model, mixer, drawn, EPOCH)
    place = ROOT / "runs" / "benchmarks" / NAME.replace("/", "-")
    run = Run.open(place) if place.exists() else Run.create(place, default=MODEL)
    here: list[int] = []
    before = time.process_time()
    result = fit(task, recipe(), run, progress=lambda tick: here.append(tick.step))
    seconds = (time.process_time() - before) * result.steps / max(1, len(here))
    ledger = Ledger(NAME, key=("what",))
    if ledger.find(what="training") is None:
        ledger.add({
            "what": "training",
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": result.steps,
            "minutes": round(result.seconds / 60, 1),
            "cpu_minutes": round(seconds / 60, 1),
            "speakers": {part: len({clip.group for clip in corpus.clean}) for part, corpus in parts.items()},
            "hours": round(parts["train"].hours, 2),
            "validation_gains": [round(row["valid_si_sdr_gain"], 2) for row in result.history],
        })  # fmt: skip
    model.eval()
    rows = judged(model, mixtures(parts["test"], TESTED, seed=2))
    publish(report(rows, long_files(model, parts["test"]), ledger.rows[0], found))


def recordings() -> dict[str, Corpus]:
    """The clean speech of the bundle by folder."""
    root = sets.folder()
    return {part: read_corpus([root / part / "clean"], sample_rate=RATE)
            for part in ("train", "valid", "test", "extra")}  # fmt: skip


def corpora(found: dict[str, Corpus]) -> dict[str, Corpus]:
    """The recordings of the speakers who train, choose and test."""
    own = {part: corpus.clean for part, corpus in found.items()}
    readers = sorted({clip.group for clip in own["extra"] if clip.group.startswith("libri")})
    apart = {"test": set(readers[TEST::EVERY]), "validation": set(readers[VALIDATION::EVERY])}

    def of(groups: set[str]) -> tuple[Clip, ...]:
        return tuple(clip for clip in own["extra"] if clip.group in groups)

    others = {clip.group for clip in own["extra"]} - apart["test"] - apart["validation"]
    return {
        "train": Corpus(sample_rate=RATE, clean=own["train"] + of(others)),
        "validation": Corpus(sample_rate=RATE, clean=own["valid"] + of(apart["validation"])),
        "test": Corpus(sample_rate=RATE, clean=own["test"] + of(apart["test"])),
    }


def mixtures(corpus: Corpus, count: int, seed: int, seconds: float = 4.0) -> list[np.ndarray]:
    """Sources (2, N) of mixtures of recordings as they are."""
    rng = np.random.default_rng(seed)
    mixer = Mixer(corpus, MixingConfig(seconds=seconds, speed=(0.0, 0.0), equaliser=(0.0, 0.0)))
    return [mixer.pair(rng, 2) for _ in range(count)]


def recipe() -> FitConfig:
    return FitConfig(
        budget=60.0 * MINUTES,
        epochs=None,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        warmup_steps=100,
        floor=0.02,
        weight_decay=1e-4,
        clip=3.0,
        eval_every=500,
        seed=0,
        device="cpu",
        threads=1,
    )


@torch.inference_mode()
def judged(model: Separator, drawn: list[np.ndarray]) -> list[dict[str, Any]]:
    """SI-SDR of each mixture's voices before and after, the better order of the outputs counting."""
    rows = []
    for number, sources in enumerate(drawn):
        target = torch.from_numpy(sources)[None]
        made = model(target.sum(1))
        table = si_snr(made[:, :, None], target[:, None])[0]
        after = max(table[0, 0] + table[1, 1], table[0, 1] + table[1, 0]).item() / 2
        before = si_snr(target.sum(1, keepdim=True), target).mean().item()
        rows.append({"what": "mixture", "number": number, "before": before, "after": after})
    return rows


def long_files(model: Separator, corpus: Corpus) -> list[dict[str, Any]]:
    """Files of a minute: SI-SDR gained over the whole, and the pieces whose voices are in their places."""
    rng = np.random.default_rng(3)
    speakers = sorted({clip.group for clip in corpus.clean})
    rows = []
    for number in range(LONG):
        pair = rng.choice(speakers, 2, replace=False)
        sources = np.stack([talk(corpus, str(speaker), rng) for speaker in pair])
        mixture = sources.sum(0)
        made = separated(model, mixture)
        made = made[list(best_order(made, sources))]
        both = torch.from_numpy(sources)
        gain = si_snr(torch.from_numpy(made), both) - si_snr(torch.from_numpy(mixture)[None], both)
        rows.append(
            {
                "what": "minute",
                "number": number,
                "gain": gain.mean().item(),
                **{f"in_place_{piece:g}": in_place(made, sources, piece) for piece in PIECES},
            }
        )
    return rows


def in_place(made: np.ndarray, sources: np.ndarray, piece: float) -> float:
    """The share of pieces that are in the order of the whole."""
    size = round(piece * RATE)
    orders = [best_order(made[:, i : i + size], sources[:, i : i + size])
              for i in range(0, sources.shape[1], size)]  # fmt: skip
    return orders.count((0, 1)) / len(orders)


def talk(corpus: Corpus, speaker: str, rng: np.random.Generator) -> np.ndarray:
    """A minute of one speaker, recordings behind each other, at -26 dB."""
    clips = [clip.samples / np.float32(FULL) for clip in corpus.clean if clip.group == speaker]
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < 60 * RATE:
        parts.append(clips[int(rng.integers(len(clips)))])
    x = np.concatenate(parts)[: 60 * RATE].astype(np.float32)
    return x * np.float32(10 ** (-26 / 20) / active_rms(x[None], RATE)[0])


def report(
    rows: list[dict[str, Any]],
    minutes: list[dict[str, Any]],
    facts: dict[str, Any],
    found: dict[str, Corpus],
) -> Result:
    gains = np.array([row["after"] - row["before"] for row in rows])
    line = {
        "model": MODEL,
        "gain": float(gains.mean()),
        "low": float(np.percentile(gains, 10)),
        "high": float(np.percentile(gains, 90)),
        "after": float(np.mean([row["after"] for row in rows])),
        **{key: facts[key] for key in ("parameters", "steps", "minutes", "cpu_minutes")},
    }
    short, window = (f"in_place_{piece:g}" for piece in PIECES)
    mean = {key: float(np.mean([row[key] for row in minutes])) for key in ("gain", short, window)}
    whole = mean | {"files": len(minutes), "steady": sum(row[window] == 1 for row in minutes)}
    speakers = facts["speakers"]
    return Result(
        benchmark=NAME,
        title="Separation of two speakers",
        summary=f"After {facts['minutes']:.0f} minutes of training {MODEL} gains {line['gain']:.1f} dB of "
        f"SI-SDR on {len(rows)} mixtures of {speakers['test']} speakers that it has not heard. In "
        f"{whole['steady']} of {len(minutes)} files of a minute every window keeps its speakers in their "
        "places.",
        versions=versions("statewise-core", "statewise-speech", "torch", "numpy"),
        protocol=PROTOCOL
        | {
            "sizes": f"{speakers['train']} speakers and {facts['hours']} hours train, "
            f"{speakers['validation']} speakers choose, {speakers['test']} test",
            "fingerprints": "of all samples by folder: "
            + ", ".join(f"{part} {corpus.fingerprint}" for part, corpus in found.items()),
        },
        data=sets.fingerprints(("test/clean", "valid/clean")),
        seeds=(0,),
        rows=(*rows, *minutes, facts),
        tables=(
            Table(
                title="Mixtures of 4 s",
                columns=(
                    Column(key="model", label="model"),
                    Column(key="gain", label="SI-SDR gained, dB", format=".2f"),
                    Column(key="low", label="10 %", format=".2f"),
                    Column(key="high", label="90 %", format=".2f"),
                    Column(key="after", label="SI-SDR after", format=".2f"),
                    Column(key="parameters", label="parameters", format=","),
                    Column(key="steps", label="steps", format=","),
                    Column(key="minutes", label="minutes", format=".0f"),
                    Column(key="cpu_minutes", label="CPU minutes", format=".0f"),
                ),
                rows=(line,),
                note="The published model has 55.7 million parameters; this one shows what one thread "
                "reaches in an hour.",
            ),
            Table(
                title="Files of a minute",
                columns=(
                    Column(key="files", label="files"),
                    Column(key="gain", label="SI-SDR gained, dB", format=".2f"),
                    Column(key=short, label=f"pieces of {PIECES[0]:g} s in place", format=".1%"),
                    Column(key=window, label=f"windows of {PIECES[1]:g} s in place", format=".1%"),
                    Column(key="steady", label="files without a swap"),
                ),
                rows=(whole,),
                note="A lasting swap of the speakers would put all windows after it out of place.",
            ),
        ),
    )


if __name__ == "__main__":
    main()
