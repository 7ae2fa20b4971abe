"""kill -9 at random moments of `forecast fit … --epochs N`: `--resume` ends with the same weights."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
COMMAND = [sys.executable, "-m", "statewise.timeseries.cli", "fit"]
WAIT = 120.0


def hours(path: Path) -> Path:
    noise = np.random.default_rng(0).normal(size=600)
    stamps = np.datetime64("2023-01-01T00") + np.arange(600)
    rows = [
        f"{str(stamp).replace('T', ' ')}:00,{np.sin(i * np.pi / 12) + noise[i] / 3:.4f}"
        for i, stamp in enumerate(stamps)
    ]
    path.write_text("\n".join(["time,load", *rows]) + "\n", encoding="utf-8")
    return path


def started(words: list[str]) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(path: Path) -> float:
    """Seconds until the file exists."""
    begun = time.monotonic()
    while not path.exists():
        if time.monotonic() - begun > WAIT:
            raise TimeoutError(str(path))
        time.sleep(0.01)
    return time.monotonic() - begun


@pytest.mark.parametrize("moments", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_fit_resumes_to_the_same_bits(tmp_path: Path, moments: int):
    data = hours(tmp_path / "load.csv")
    flags = ["--model", "tpgn-tiny", "--epochs", "10", "--quiet"]
    whole = tmp_path / "whole"
    process = started([*COMMAND, str(data), *flags, "--out", str(whole)])
    wait_for(whole / "settings.json")
    begun = time.monotonic()
    assert process.wait(WAIT) == 0
    lasting = time.monotonic() - begun
    draw, cut = random.Random(1), 0
    for moment in range(moments):
        run = tmp_path / f"killed-{moment}"
        process = started([*COMMAND, str(data), *flags, "--out", str(run)])
        wait_for(run / "settings.json")
        time.sleep(draw.uniform(0.05, 0.6) * lasting)
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT)
        cut += not (run / "forecast.csv").exists()
        assert started([*COMMAND, "--resume", str(run), "--quiet"]).wait(WAIT) == 0
        for name in ("model/arrays.safetensors", "forecast.csv", "tpgn/weights.safetensors"):
            assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert cut, "no kill came before the end"
