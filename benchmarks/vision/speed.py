"""ViG, LightNet and pLSTM against DeiT-T with fused attention: batch 1, one thread, CPU time, in turns.

The peer is timm's `deit_tiny_patch16_224`, made for each resolution: `uv run --with timm python -m
benchmarks.vision.speed`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import torch
from torch import nn

from benchmarks.core.machine import gemm_speed
from benchmarks.results import Column, Ledger, Result, Table, publish, versions
from statewise.vision.macs import multiply_adds
from statewise.vision.models import build
from statewise.vision.speed import peak_growth

NAME = "vision/speed"
SIZES = (224, 512, 1024, 2048)
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}
OURS = ("vig-t", "lightnet-t", "plstm-t")
PEER = "deit_tiny_patch16_224"
ROUNDS = {224: 5, 512: 9, 1024: 9, 2048: 1}
PROTOCOL = {
    "images": "one colour image of normal noise; every model is made for the resolution",
    "peer": f"timm {PEER}, img_size set, eager, fused scaled-dot-product attention",
    "time": "least CPU time of 5 forward passes (9 at 512 and 1024, 1 at 2048 pixels) in inference mode, in "
    "turns in one process",
    "memory": "growth of the peak resident set over one pass, after a pass at 64 pixels, in a process of "
    "its own",
    "precision": "fp32, and bf16 weights and activations with the states of scans in fp32",
    "threads": "one",
}


def main() -> None:
    if len(sys.argv) > 1:
        print(extra_memory(*sys.argv[1:]))
        return
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("kind", "size"))
    for kind in KINDS:
        for size in SIZES:
            if ledger.find(kind=kind, size=size) is None:
                ledger.add(measure(kind, size))
                print(ledger.rows[-1], flush=True)
    rows = [row for kind in KINDS for size in SIZES if (row := ledger.find(kind=kind, size=size))]
    publish(report(rows))


def network(name: str, size: int, kind: str) -> nn.Module:
    if name == PEER:
        import timm

        return timm.create_model(name, img_size=size).eval().to(KINDS[kind])
    return build(name, height=size, width=size).eval().to(KINDS[kind])


def measure(kind: str, size: int) -> dict[str, Any]:
    """All models in turns at one resolution."""
    rivals = {name: network(name, size, kind) for name in (*OURS, PEER)}
    images = torch.randn(1, 3, size, size).to(KINDS[kind])
    least = dict.fromkeys(rivals, float("inf"))
    with torch.inference_mode():
        for turn in range(ROUNDS[size] + 1):
            for name, model in rivals.items():
                begun = time.thread_time()
                model(images)
                if turn:  # the first pass of each warms up
                    least[name] = min(least[name], time.thread_time() - begun)
    memory = {name: memory_of(name, size, kind) for name in rivals}
    return {
        "kind": kind,
        "size": size,
        "seconds": {name: round(value, 5) for name, value in least.items()},
        "megabytes": memory,
        "gemm_gflops": round(gemm_speed(1024), 1) if kind == "fp32" else None,
    }


def memory_of(name: str, size: int, kind: str) -> float:
    command = [sys.executable, "-m", __spec__.name, name, str(size), kind]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(answer.stdout.split()[-1])


def extra_memory(name: str, size: str, kind: str) -> float:
    """Megabytes by which one pass raises the peak of this process."""
    torch.set_num_threads(1)
    model = network(name, int(size), kind)
    with torch.inference_mode():
        if name != PEER:
            model(torch.zeros(1, 3, 64, 64, dtype=KINDS[kind]))
        else:
            network(name, 64, kind)(torch.zeros(1, 3, 64, 64, dtype=KINDS[kind]))
        images = torch.zeros(1, 3, int(size), int(size), dtype=KINDS[kind])
        return peak_growth(lambda: model(images)) / 1e6


def report(rows: list[dict[str, Any]]) -> Result:
    table = [line(row, name) for row in rows for name in row["seconds"]]
    found = {(row["kind"], row["size"], row["model"]): row for row in table}
    growth = found["fp32", 1024, "vig-t"]["ms"] / found["fp32", 512, "vig-t"]["ms"]
    lead = found["fp32", 1024, "vig-t"]["ratio"]
    small = found["fp32", 224, "vig-t"]["ratio"]
    grid = found["fp32", 1024, "plstm-t"]["ratio"]
    half = found.get(("bf16", 1024, "vig-t"))
    bf16 = "" if half is None else f", in bf16 {half['ratio']:.2f} times"
    return Result(
        benchmark=NAME,
        title="Image models by resolution, against fused attention",
        summary=f"At 1024 pixels ViG-T is {lead:.2f} times as fast as a DeiT-T with fused attention{bf16}; "
        f"pLSTM-T in fp32 {grid:.2f} times; at 224 ViG-T has {small:.2f} times its speed. From 512 to 1024 "
        f"pixels, four times the tokens, ViG-T takes {growth:.2f} times as long. The comparison is with "
        "fused attention: without fusion a ViT is slower and its memory grows with the square of the tokens.",
        versions=versions("statewise-core", "statewise-vision", "torch", "timm"),
        protocol=PROTOCOL | {"machine": f"float32 product of 1024 x 1024: {rows[0]['gemm_gflops']} GFLOP/s"},
        rows=tuple(rows),
        tables=(
            Table(
                title="One forward pass",
                columns=(
                    Column(key="kind", label="precision"),
                    Column(key="size", label="pixels"),
                    Column(key="model", label="model"),
                    Column(key="ms", label="ms", format=".1f"),
                    Column(key="ratio", label="times DeiT-T's speed", format=".2f"),
                    Column(key="megabytes", label="extra MB", format=".0f"),
                    Column(key="gigamacs", label="multiply-adds (G)", format=".2f"),
                ),
                rows=tuple(table),
                note="Speeds depend on the machine and its load; the ratio is what carries over.",
            ),
        ),
    )


def line(row: dict[str, Any], name: str) -> dict[str, Any]:
    size, seconds = row["size"], row["seconds"]
    with torch.device("meta"):
        model = build("vit-t" if name == PEER else name, height=size, width=size)
    return {
        "kind": row["kind"],
        "size": size,
        "model": name,
        "ms": 1e3 * seconds[name],
        "ratio": seconds[PEER] / seconds[name],
        "megabytes": row["megabytes"][name],
        "gigamacs": multiply_adds(model, 1, 3, size, size) / 1e9,
    }


if __name__ == "__main__":
    main()
