"""Train the weights that come with `speech enhance`, from recordings that can be fetched; put them in place.

    uv run --with av python scripts/train_speech_weights.py --data DIR --budget 2h

DIR holds recordings in the layout that `benchmarks/speech` uses (train/, extra/, rir/, valid/, vb_train6/),
in more/ what `fetch_noise.py` beside this script fetches, and in packages/ the Debian packages of `speech
data` (apt-get download asterisk-core-sounds-en-g722; es, fr, it), whose G.722 prompts are decoded into
DIR/asterisk once. Ten kinds of noise and every eighth reader of extra/ are set aside; with valid/ and
vb_train6/, and babble of the voices in them, they choose the weights.
`--resume RUN` goes on with a run; the budget is then that of the whole of it. `--start recurrent-mask-gru`
trains the weights in the package further, with a learning rate that begins anew: steps and hours add up.
Another `--seed` draws other mixtures.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from statewise.core.cli.durations import parse_duration
from statewise.speech.fit_report import verdict, write_report
from statewise.speech.fitting import fit_run, resume_run
from statewise.speech.mixing import MixingConfig
from statewise.speech.settings import FitSettings

VOICES = {"en": "allison", "es": "allison", "fr": "june", "it": "carlo"}
WEIGHTS = Path(__file__).resolve().parents[1] / "apps/speech/src/statewise/speech/weights"
HELD_OUT = (
    *("construction-site", "dog-barking", "laundry-room", "music-jazz", "office", "restaurant"),
    *("subway-station", "supermarket", "traffic", "typewriter"),
)
"""Kinds of noise in extra/ that choose the weights and do not train them."""
APART = 8
"""Of the speakers of LibriSpeech in extra/, every eighth chooses and does not train."""
BATCHES: dict[str, tuple[int, float, float, Literal["fp32", "bf16"]]] = {
    "recurrent-mask-gru": (8, 5.0, 5e-4, "bf16"),
    "band-split-small": (12, 3.0, 2e-3, "bf16"),
    "frcrn-tiny-causal": (6, 1.5, 2e-3, "fp32"),
}
"""Examples per step, seconds of each, learning rate and arithmetic."""
CARD = """# {model}

Weights for `speech enhance`: 16 kHz, one channel, causal. Licence of the weights: Apache-2.0.

Trained with the settings in `scripts/train_speech_weights.py` for {steps} steps in all, {hours:.1f} hours of
wall time on a share of one CPU thread, on mixtures drawn anew from {speech:.1f} hours of clean speech.

| method | SI-SDR, dB | STOI |
|---|--:|--:|
{scores}

Means over the validation pairs, which chose the weights: mixtures of voices that did not train (Russian
prompts, LibriVox, every eighth reader of LibriSpeech below) with wind, a summer night, ten kinds of noise of
the table below and babble at 0, 5 and 10 dB, and six pairs of the VoiceBank+DEMAND training set (speaker
p287). The first 1,740 steps trained on those readers and ten kinds too and were chosen on the other pairs;
the first 6,443 had 31 minutes of recorded noise, the others 168. Steps 6,444 to 13,943 changed speeds with a
filter that emptied the top of the band; those up to 21,990 mended what that had taught. The steps after
those hear mixtures from -6 to 16 dB, those before from -5 to 20 dB.
Measured once on the test sets: `docs/benchmarks/quality.md`.

## Speech, noise and rooms

Clean speech: studio prompts of the Debian packages asterisk-core-sounds-en, -es, -fr and -it (g722,
1.6.1-1): Allison Smith (English, Spanish) and June Wallack (French), CC BY-SA 3.0; Carlo Flora (Italian),
CC BY 3.0; Digium, Inc. Further:

| role | origin | licence | files |
|---|---|---|--:|
{sources}

Recordings are played up to 10 % (noise 25 %) faster or slower. Noise is also computed: Gaussian noise of
random colour, trains of narrow bands, blows that ring, gliding tones, and babble of three to twelve of the
voices, and half of the rooms. Some kinds of noise (train, cafe) are other recordings of kinds that the test
set has.

## Limits

The training was short: larger models that were trained for weeks are better on most noise. Music is noise
to it. What lies above 8 kHz is not seen. A voice far below the noise may be taken away with it; `--limit
12` keeps a background.
"""


def main() -> None:
    """Decode, fit, and copy the model into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--packages", type=Path, help="folder of the .deb files; by default DIR/packages")
    parser.add_argument("--model", default="recurrent-mask-gru", choices=sorted(BATCHES))
    parser.add_argument("--budget", default="1h", help="wall time")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--start", help="weights to train further: a name in the package, or a directory")
    parser.add_argument("--seed", type=int, default=1, help="another one draws other mixtures")
    wanted = parser.parse_args()
    if wanted.resume is not None:
        outcome = resume_run(wanted.resume, budget=parse_duration(wanted.budget), say=print)
    else:
        prompts = decode(wanted.packages or wanted.data / "packages", wanted.data / "asterisk")
        split(wanted.data)
        outcome = fit_run(
            settings(wanted.model, wanted.data, prompts, wanted.budget, wanted.start, wanted.seed),
            out=wanted.out,
            say=print,
        )
    write_report(outcome)
    print(verdict(outcome))
    target = WEIGHTS / outcome.settings.model
    shutil.copytree(outcome.run.path / "model", target, dirs_exist_ok=True)
    write_card(target, wanted.data)
    print(f"{target}: {json.dumps(outcome.result.best)}")


def settings(model: str, data: Path, prompts: Path, budget: str, start: str | None, seed: int) -> FitSettings:
    """What the weights in the package were asked for."""
    batch, seconds, rate, precision = BATCHES[model]
    return FitSettings(
        clean=(str(data / "train/clean"), str(data / "extra_train/clean"), str(prompts)),
        noise=tuple(str(data / part / "noise") for part in ("train", "extra_train", "more")),
        rooms=(str(data / "rir"),),
        valid_clean=(str(data / "valid/clean"), str(data / "extra_valid/clean")),
        valid_noise=(str(data / "valid/noise"), str(data / "extra_valid/noise")),
        pairs=(str(data / "vb_train6/clean"), str(data / "vb_train6/noisy")),
        model=model,
        start=start,
        mixing=MixingConfig(
            seconds=seconds,
            snr=(-6.0, 16.0),
            babble=0.2,
            synthetic=0.12,
            double=0.2,
            equaliser=(4.0, 6.0),
            speed=(0.08, 0.15),
        ),
        batch_size=batch,
        learning_rate=rate,
        precision=precision,
        eval_every=500,
        seed=seed,
        device="cpu",
        threads=1,
        budget=parse_duration(budget),
    )


def write_card(folder: Path, data: Path) -> None:
    """CARD.md beside the weights: trained on what and for how long, whom to credit, what they reach."""
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))["metadata"]
    sources: dict[tuple[str, str, str], int] = {}
    for part, split in ((".", "train"), ("extra", None), ("more", None)):
        with (data / part / "manifest.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if split is None or row["split"] == split or row["role"] == "rir":
                    key = (row["role"], row["origin"], row["licence"])
                    sources[key] = sources.get(key, 0) + 1
    lines = [
        f"| {role} | {origin} | {licence} | {n} |" for (role, origin, licence), n in sorted(sources.items())
    ]
    scores = [f"| {row['method']} | {row['si_sdr']:.2f} | {row['stoi']:.3f} |" for row in facts["scores"]]
    text = CARD.format(
        model=facts["model"],
        steps=f"{facts['steps']:,}",
        hours=facts["seconds_of_training"] / 3600,
        speech=facts["hours_of_speech"],
        sources="\n".join(lines),
        scores="\n".join(scores),
    )
    (folder / "CARD.md").write_text(text, encoding="utf-8")


def split(data: Path) -> None:
    """Links to the files of extra/ by what they are for: DIR/extra_train and DIR/extra_valid."""
    if (data / "extra_valid").is_dir():
        return
    clean, noise = (sorted((data / "extra" / part).iterdir()) for part in ("clean", "noise"))
    readers = sorted({_group(path) for path in clean if path.name.startswith("libri_")})
    chosen = {*readers[::APART], *HELD_OUT}
    for path in [*clean, *noise]:
        part = "extra_valid" if _group(path) in chosen else "extra_train"
        link = data / part / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())


def _group(path: Path) -> str:
    return path.stem.split("__")[0]


def decode(packages: Path, target: Path) -> Path:
    """The prompts as 16 kHz FLAC, named `voice__language_folder_prompt.flac`."""
    if target.is_dir():
        return target
    import av

    part = target.with_name(f"{target.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    for language, voice in VOICES.items():
        package = next(packages.glob(f"asterisk-core-sounds-{language}-g722*.deb"), None)
        if package is None:
            raise SystemExit(f"{packages} holds no asterisk-core-sounds-{language}-g722: apt-get download it")
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["dpkg-deb", "-x", str(package), folder], check=True)
            for path in sorted(Path(folder).rglob("*.g722")):
                if "silence" in path.parts or not path.stat().st_size:
                    continue
                with av.open(str(path), format="g722") as container:
                    frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
                below = "_".join(path.relative_to(folder).with_suffix("").parts[-2:])
                soundfile.write(part / f"{voice}__{language}_{below}.flac", np.concatenate(frames), 16_000)
    return part.rename(target)


if __name__ == "__main__":
    main()
