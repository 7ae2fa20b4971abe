"""Enhancement on two test sets: PESQ-WB, STOI and SI-SDR of baselines, peers, the official FRCRN and ours.

Peers and PESQ run in an environment of their own, whose Python STATEWISE_PEERS names (see `peers.py`); what
they make is kept under runs/benchmarks/speech and made once. Every output is aligned before it is measured.
The rows of the committed document are kept as long as its test sets are these, but for those of our weights:
what others make of the same recordings does not change. Delete the document to measure them again.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks.results import ROOT, Column, Result, Table, publish, read, versions
from benchmarks.speech import sets
from benchmarks.speech.sets import RATE, Utterance
from statewise.speech import metrics, pretrained
from statewise.speech.models import build
from statewise.speech.models.enhancer import Enhancer, enhance

WORK = ROOT / "runs" / "benchmarks" / "speech"
BASELINES = ("gating", "wiener")
PEERS = ("logmmse", "rnnoise", "nsnet2", "dtln", "gtcrn")
NAMES = {
    "noisy": "noisy input",
    "gating": "spectral gating",
    "wiener": "Wiener",
    "logmmse": "logMMSE",
    "rnnoise": "RNNoise",
    "nsnet2": "NSNet2",
    "dtln": "DTLN",
    "gtcrn": "GTCRN",
    "frcrn-official": "FRCRN 13.1 M, official outputs",
}
GOAL = ("rnnoise", "logmmse")
"""What the weights in the package have to beat."""
REMARK = "A model can win on one set and lose on the other, so both are always shown."


def main() -> None:
    torch.set_num_threads(1)
    python = os.environ.get("STATEWISE_PEERS")
    if not python:
        raise SystemExit("set STATEWISE_PEERS to the Python of the environment that peers.py describes")
    found, ours = sets.all_sets(), list(pretrained.shipped())
    rows, packages = _committed(ours)
    for name, utterances in found.items():
        _write(name, "clean", {one.name: one.clean for one in utterances})
        _write(name, "noisy", {one.name: one.noisy for one in utterances})
    known = {(row["set"], row["method"]) for row in rows}
    methods = ["noisy", *BASELINES, *PEERS, *ours]
    todo = {method for method in methods if any((part, method) not in known for part in found)}
    timing, new = _peers(python, found, [peer for peer in PEERS if peer in todo])
    for name in [name for name in (*BASELINES, *ours) if name in todo]:
        model = pretrained.load(name).model if name in ours else build(name)[1]
        timing[name] = _enhance(name, model, found)
    _official(found["voicebank"])
    wanted = [(part, method) for part in found for method in methods] + [("voicebank", "frcrn-official")]
    rows += [
        _score(python, part, method, found[part], timing)
        for part, method in wanted
        if (part, method) not in known
    ]
    publish(_report(rows, ours, packages | new))


def _committed(ours: list[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows of the committed document that still hold, and the versions of what made them."""
    document = Path(__file__).with_suffix(".json")
    if not document.is_file():
        return [], {}
    before = read(document)
    if before.data != sets.fingerprints():
        return [], {}
    names = ("noisy", *BASELINES, *PEERS, "frcrn-official")
    return [row for row in before.rows if row["method"] in names], before.versions


def _write(part: str, method: str, signals: dict[str, np.ndarray]) -> None:
    folder = WORK / part / method
    folder.mkdir(parents=True, exist_ok=True)
    for name, x in signals.items():
        soundfile.write(folder / f"{name}.wav", x.astype(np.float32), RATE, subtype="FLOAT")


def _peers(
    python: str, found: dict[str, list[Utterance]], peers: list[str]
) -> tuple[dict[str, float], dict[str, str]]:
    """CPU seconds per second of sound and versions of the peers; what is done already is not done again."""
    timing, packages = {}, {}
    for peer in peers:
        factors = []
        for part in found:
            note = WORK / part / f".{peer}.json"
            if not note.exists():
                words = ["enhance", str(WORK / part / "noisy"), str(WORK / part / peer), peer]
                note.write_text(_run(python, words), encoding="utf-8")
            facts = json.loads(note.read_text(encoding="utf-8").splitlines()[-1])
            factors.append(facts["cpu_seconds"] / facts["sound_seconds"])
            packages[facts["package"]] = facts["version"]
        timing[peer] = float(np.mean(factors))
    return timing, packages


def _run(python: str, words: list[str]) -> str:
    script = Path(__file__).with_name("peers.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([python, str(script), *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.splitlines()[-1]


@torch.inference_mode()
def _enhance(name: str, model: Any, found: dict[str, list[Utterance]]) -> float:
    assert isinstance(model, Enhancer)
    model.eval()
    spent = sound = 0.0
    for part, utterances in found.items():
        made = {}
        for one in utterances:
            begun = time.process_time()
            made[one.name] = enhance(model, torch.from_numpy(one.noisy.astype(np.float32))[None])[0].numpy()
            spent += time.process_time() - begun
            sound += len(one.noisy) / RATE
        _write(part, name, made)
    return spent / sound


def _official(utterances: list[Utterance]) -> None:
    made = {one.name: soundfile.read(sets.official(one.name), dtype="float32")[0] for one in utterances}
    _write("voicebank", "frcrn-official", made)


def _score(
    python: str, part: str, method: str, utterances: list[Utterance], timing: dict[str, float]
) -> dict[str, Any]:
    """Align, measure STOI and SI-SDR here and PESQ there."""
    folder, values = WORK / part / method, []
    aligned: dict[str, dict[str, np.ndarray]] = {"estimate": {}, "clean": {}}
    for one in utterances:
        y, _ = soundfile.read(folder / f"{one.name}.wav", dtype="float32")
        estimate, clean, lag = metrics.align(y, one.clean.astype(np.float32), RATE)
        aligned["estimate"][one.name], aligned["clean"][one.name] = estimate, clean
        values.append((metrics.stoi(estimate, clean, RATE), metrics.si_sdr(estimate, clean), lag))
    for kind, signals in aligned.items():
        _write(f"aligned/{part}-{method}", kind, signals)
    base = WORK / "aligned" / f"{part}-{method}"
    quality = _pesq(python, base)
    stoi, ratio, lag = (np.array(column, dtype=float) for column in zip(*values, strict=True))
    return {
        "set": part,
        "method": method,
        "files": len(utterances),
        "pesq": float(np.mean(list(quality.values()))),
        "stoi": float(np.mean(stoi)),
        "si_sdr": float(np.mean(ratio)),
        "lag": float(np.median(lag)),
        "real_time_factor": timing.get(method),
    }


def _pesq(python: str, base: Path) -> dict[str, float]:
    """PESQ per file, measured once for the same signals."""
    digest = hashlib.sha256()
    for path in sorted(base.glob("*/*.wav")):
        digest.update(path.read_bytes())
    note = base / f"{digest.hexdigest()[:16]}.json"
    if not note.exists():
        note.write_text(_run(python, ["pesq", str(base / "clean"), str(base / "estimate")]), encoding="utf-8")
    return json.loads(note.read_text(encoding="utf-8"))["values"]


def _table(rows: list[dict[str, Any]], part: str, title: str) -> Table:
    order = [*NAMES, *sorted({row["method"] for row in rows} - set(NAMES))]
    chosen = sorted((row for row in rows if row["set"] == part), key=lambda row: order.index(row["method"]))
    return Table(
        title=title,
        columns=(
            Column(key="name", label="method"),
            Column(key="pesq", label="PESQ-WB", format=".3f"),
            Column(key="stoi", label="STOI", format=".3f"),
            Column(key="si_sdr", label="SI-SDR, dB", format=".2f"),
            Column(key="real_time_factor", label="CPU s per s", format=".3f"),
        ),
        rows=tuple(row | {"name": NAMES.get(row["method"], f"{row['method']} (ours)")} for row in chosen),
    )


def _summary(rows: list[dict[str, Any]], ours: list[str]) -> str:
    """What our default weights beat, counted on every set by PESQ and by SI-SDR."""
    table = {(row["set"], row["method"]): row for row in rows}
    parts = list(dict.fromkeys(row["set"] for row in rows))
    lines = []
    for name in ours:
        told = []
        for peer in (*GOAL, "nsnet2", "dtln", "gtcrn"):
            wins = sum(table[p, name][key] > table[p, peer][key] for p in parts for key in ("pesq", "si_sdr"))
            told.append(f"{NAMES[peer]} in {wins}")
        lines.append(
            f"Of {2 * len(parts)} comparisons (PESQ and SI-SDR on {len(parts)} sets) {name} wins against "
            + ", ".join(told)
            + "."
        )
        whole = [
            {row["method"]: row for row in one} for one in (_of(rows, "voicebank"), _mean_of_mixes(rows))
        ]
        beaten = [
            NAMES[peer]
            for peer in PEERS
            if all(one[name][key] > one[peer][key] for one in whole for key in ("pesq", "si_sdr"))
        ]
        lines.append(
            "With the mixes as one set, the mean over their ratios, it is ahead by both measures on both "
            f"sets of {', '.join(beaten) or 'none'}."
        )
    return " ".join(lines)


def _of(rows: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["set"] == part]


def _mean_of_mixes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean of each method over the mixes of all ratios, as rows of a set `mixes`."""
    parts = [{row["method"]: row for row in _of(rows, f"mix{snr}")} for snr in sets.SNRS]
    return [
        first
        | {"set": "mixes"}
        | {key: float(np.mean([part[method][key] for part in parts])) for key in ("pesq", "stoi", "si_sdr")}
        for method, first in parts[0].items()
    ]


def _report(rows: list[dict[str, Any]], ours: list[str], packages: dict[str, str]) -> Result:
    titles = {"voicebank": "VoiceBank+DEMAND, 14 test utterances of p232"}
    titles |= {f"mix{snr}": f"Test voices in coffee-shop and train noise at {snr} dB" for snr in sets.SNRS}
    titles["mixes"] = "Test voices in coffee-shop and train noise, mean over 0, 5 and 10 dB"
    weights = {name: _digest(path) for name, path in pretrained.shipped().items()}
    return Result(
        benchmark="speech/quality",
        title="Speech enhancement on two test sets",
        summary=f"{_summary(rows, ours)} {REMARK}",
        versions=packages | versions("statewise-core", "statewise-speech", "torch", "pystoi"),
        protocol={
            "alignment": "outputs are shifted by the lag, up to 50 ms, at which they correlate best",
            "mixes": "speech at -26 dB below full scale, ratio of the active speech, seed 0",
            "threads": "1; CPU seconds per second of sound on a shared machine, whole signals; rows are of "
            "different days, so that these times are rough: see speed",
            "choice": "the weights were chosen on other voices and noises; these sets chose nothing",
        }
        | {f"weights of {name}": f"sha256 {digest[:16]}" for name, digest in weights.items()},
        rows=tuple(rows),
        tables=tuple(_table([*rows, *_mean_of_mixes(rows)], part, title) for part, title in titles.items()),
        data=sets.fingerprints(),
        seeds=(0,),
    )


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
