"""Speed and memory of enhancement on one thread: CPU time per second of sound, time per block, peak memory.

All models take turns in one process, round by round, among them NSNet2, DTLN, GTCRN and RNNoise from the
environment that STATEWISE_PEERS names (see `peers.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import soundfile
import torch

from benchmarks.results import Column, Result, Table, publish, versions
from benchmarks.speech import peers
from statewise.core.export import export_step
from statewise.speech import pretrained
from statewise.speech.models import build
from statewise.speech.models.enhancer import Enhancer, enhance
from statewise.speech.stepping import BlockEnhancer

RATE = 16_000
SECONDS, ROUNDS, BLOCKS = 2.0, 4, 200
SMALL = ("frcrn-tiny-causal", "recurrent-mask-gru", "wiener")
LARGE = ("frcrn", "frcrn bf16")
PEERS = ("nsnet2", "dtln", "gtcrn", "rnnoise")
STREAMED = ("frcrn-tiny-causal", "recurrent-mask-gru")
ENHANCE = """
import json, resource
from pathlib import Path
from statewise.speech import pretrained
from statewise.speech.cli import app

def kilobytes(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))

model = pretrained.load(pretrained.DEFAULT)
loaded = kilobytes("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
code = app.run(["enhance", {source!r}, {target!r}, "--quiet", "--threads", "1"])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([code, loaded, kilobytes("VmHWM"), used.ru_utime + used.ru_stime]))
"""
LENGTHS = {"1 s": 1, "1 minute": 60, "1 hour": 3600}


def main() -> None:
    torch.set_num_threads(1)
    python = os.environ.get("STATEWISE_PEERS")
    if not python:
        raise SystemExit("set STATEWISE_PEERS to the Python of the environment that peers.py describes")
    sys.path += sorted(map(str, Path(python).parents[1].glob("lib/python*/site-packages")))
    factors = real_time_factors()
    latencies = [block_times(name) for name in STREAMED]
    memory = [peak_memory(name, seconds) for name, seconds in LENGTHS.items()]
    publish(report(factors, latencies, memory))


def real_time_factors() -> list[dict[str, Any]]:
    """The best of all rounds; the two large models take part in the first."""
    x = (0.05 * np.random.default_rng(0).standard_normal(round(SECONDS * RATE))).astype(np.float32)
    runs: dict[str, Callable[[], object]] = {name: ours(name, x) for name in (*SMALL, *LARGE)}
    for name in PEERS:
        run, _ = peers.PEERS[name]()
        runs[name] = lambda run=run: run(x)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS):
        for name, run in runs.items():
            if name in LARGE and number > 0:
                continue
            if number == 0 and name not in LARGE:
                run()
            begun = time.process_time()
            run()
            times[name].append((time.process_time() - begun) / SECONDS)
    best = {name: min(values) for name, values in times.items()}
    return [
        {"what": "factor", "model": name, "parameters": size(name), "real_time_factor": value,
         "ratio": value / best["dtln"]}
        for name, value in best.items()
    ]  # fmt: skip


def ours(name: str, x: np.ndarray) -> Callable[[], object]:
    model = network(name)
    signal = torch.from_numpy(x)[None]
    half = name.endswith("bf16")

    @torch.inference_mode()
    def run() -> None:
        if not half:
            enhance(model, signal)
            return
        spectrum = model.stft.spectrum(signal)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            enhanced, _ = model(spectrum)
        model.stft.signal(enhanced.float(), signal.shape[1])

    return run


def network(name: str) -> Enhancer:
    """A model in evaluation mode; its speed does not depend on its weights."""
    torch.manual_seed(0)
    _, model = build(name.removesuffix(" bf16"))
    assert isinstance(model, Enhancer)
    return model.eval()


def size(name: str) -> int | None:
    return None if name in PEERS else sum(p.numel() for p in network(name).parameters())


def block_times(name: str) -> dict[str, Any]:
    """Milliseconds per block, in PyTorch and as an exported graph, and how far the two are apart."""
    model = network(name)
    layer = BlockEnhancer(model).eval()
    hop = model.stft.hop
    x = (0.05 * torch.randn(1, hop * BLOCKS, generator=torch.Generator().manual_seed(0))).split(hop, 1)
    with tempfile.TemporaryDirectory() as folder:
        exported = export_step(layer, Path(folder) / "model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"), options)
    feed = {port.input: np.full(port.shape, port.initial, dtype=port.dtype) for port in exported.state}
    with torch.inference_mode():
        state, spent, difference = layer.initial_state(1), {"torch": [], "onnx": []}, 0.0
        for block in x:
            begun = time.process_time()
            y, state = layer.step(block, state)
            middle = time.process_time()
            made, *rest = session.run(None, {"x": block.numpy(), **feed})
            spent["onnx"].append(1000 * (time.process_time() - middle))
            spent["torch"].append(1000 * (middle - begun))
            feed = {port.input: value for port, value in zip(exported.state, rest, strict=True)}
            difference = max(difference, float(np.abs(made - y.numpy()).max()))
    row: dict[str, Any] = {"what": "block", "model": name, "hop": 1000 * hop / RATE, "difference": difference}
    for kind, values in spent.items():
        row |= {
            f"{kind}_p50": float(np.median(values[5:])),
            f"{kind}_p99": float(np.percentile(values[5:], 99)),
        }
    return row


def peak_memory(name: str, seconds: int) -> dict[str, Any]:
    """Peak memory of `speech enhance` on a file of this length, and whether its length was kept."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.wav", Path(folder) / "out.wav"
        with soundfile.SoundFile(source, "w", RATE, 1, "PCM_16") as file:
            for _ in range(seconds):
                file.write(0.05 * rng.standard_normal(RATE))
        code = ENHANCE.format(source=str(source), target=str(target))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        status, loaded, peak, cpu = json.loads(done.stdout.splitlines()[-1])
        kept = soundfile.info(target).frames == seconds * RATE
    return {
        "what": "memory",
        "model": pretrained.DEFAULT,
        "length": name,
        "exit_code": status,
        "loaded": loaded / 1024,
        "megabytes": peak / 1024,
        "above": (peak - loaded) / 1024,
        "cpu_seconds": cpu,
        "length_kept": kept,
    }


def report(
    factors: list[dict[str, Any]], latencies: list[dict[str, Any]], memory: list[dict[str, Any]]
) -> Result:
    names = {row["model"]: row for row in factors}
    tiny, large = names["frcrn-tiny-causal"], names["frcrn"]
    return Result(
        benchmark="speech/enhancement_speed",
        title="Speed and memory of speech enhancement",
        summary=(
            f"On one thread frcrn-tiny-causal takes {tiny['real_time_factor']:.3f} CPU seconds per second of "
            f"sound and the model of 128 channels {large['real_time_factor']:.2f}. A file of an hour needs "
            f"{memory[-1]['above']:.0f} MB above the loaded process, one of a minute "
            f"{memory[-2]['above']:.0f} MB."
        ),
        versions=versions("statewise-core", "statewise-speech", "torch", "onnxruntime"),
        protocol={
            "threads": "1",
            "factor": f"CPU time, {SECONDS:.0f} s of noise at once, the best of {ROUNDS} rounds in which all "
            "models take turns in one process (one round for 128 channels)",
            "block": f"CPU time of {BLOCKS} blocks, PyTorch and ONNX in turn",
            "memory": "resident memory of a process of its own that has loaded the weights, and its peak in "
            "`speech enhance` thereafter; 16 kHz, one channel (Linux)",
        },
        rows=(*factors, *latencies, *memory),
        tables=(
            Table(
                title="CPU seconds per second of sound",
                columns=(
                    Column(key="model", label="model"),
                    Column(key="parameters", label="parameters", format=","),
                    Column(key="real_time_factor", label="CPU s per s", format=".4f"),
                    Column(key="ratio", label="relative to DTLN", format=".2f"),
                ),
                rows=tuple(factors),
                note="NSNet2, DTLN, GTCRN and RNNoise (with resampling to 48 kHz and back) are the packages "
                "of the quality benchmark; bf16 is automatic mixed precision.",
            ),
            Table(
                title="Milliseconds per block",
                columns=(
                    Column(key="model", label="model"),
                    Column(key="hop", label="block", format=".0f"),
                    Column(key="torch_p50", label="PyTorch median", format=".2f"),
                    Column(key="torch_p99", label="PyTorch 99 %", format=".2f"),
                    Column(key="onnx_p50", label="ONNX median", format=".2f"),
                    Column(key="onnx_p99", label="ONNX 99 %", format=".2f"),
                    Column(key="difference", label="largest difference", format=".1e"),
                ),
                rows=tuple(latencies),
                note="A stream keeps up as long as a block takes less than its length.",
            ),
            Table(
                title="Peak memory of speech enhance",
                columns=(
                    Column(key="length", label="file"),
                    Column(key="loaded", label="loaded (MB)", format=".0f"),
                    Column(key="megabytes", label="peak (MB)", format=".0f"),
                    Column(key="above", label="above (MB)", format=".0f"),
                    Column(key="cpu_seconds", label="CPU s", format=".1f"),
                    Column(key="length_kept", label="same length"),
                ),
                rows=tuple(memory),
            ),
        ),
        seeds=(0,),
    )


if __name__ == "__main__":
    main()
