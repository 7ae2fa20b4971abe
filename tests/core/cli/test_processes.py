"""What only a process of its own shows: start-up, closed pipes, signals."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "numba", "triton", "polars", "matplotlib", "scipy", "pandas", "numpy", "lightning_fabric"}
PROGRAMS = {
    "statewise": "statewise.core.cli.main",
    "forecast": "statewise.timeseries.cli",
    "vision": "statewise.vision.cli",
    "recsys": "statewise.recsys.cli",
    "rl": "statewise.rl.cli",
    "speech": "statewise.speech.cli",
}
LIMIT = 0.5
"""Seconds of CPU time from the start of the process to its end."""

TOY = """
import sys, time
from statewise.core.cli import App
from statewise.core.cli.options import Terminal

app = App("toy", summary="A toy.", version="1")

@app.command
def many(*, console: Terminal) -> None:
    "Print a lot."
    for number in range(100_000):
        console.show("x" * 50)

@app.command
def wait(*, console: Terminal) -> None:
    "Wait."
    console.say("waiting")
    time.sleep(60)

sys.exit(app.run())
"""


def python(*arguments: str, **settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, **settings
    )


@pytest.fixture
def toy(tmp_path) -> Path:
    path = tmp_path / "toy.py"
    path.write_text(TOY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """An environment in which modules are compiled once, as in any installation."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return environment | {"PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode"))}


@pytest.mark.parametrize(
    ("name", "words", "code"),
    [(name, ["--help"], 0) for name in PROGRAMS]
    + [("statewise", ["--version"], 0), ("vision", ["fly"], 2)]
    + [("statewise", ["doctor", "--help"], 0), ("statewise", ["layers", "--json"], 0)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_the_start_is_light(installed, name, words, code):
    traced = python("-X", "importtime", "-m", PROGRAMS[name], *words, env=installed)
    assert traced.returncode == code, traced.stderr
    loaded = {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in traced.stderr.splitlines()
        if "|" in line
    }
    assert "statewise" in loaded
    assert not loaded & HEAVY
    seconds = []
    while len(seconds) < 3 and min(seconds, default=1) >= LIMIT:  # another program may be in the way
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python("-m", PROGRAMS[name], *words, env=installed)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < LIMIT


@pytest.mark.parametrize("words", ["many", "--help", "many --help"])
def test_a_reader_that_leaves_early_is_no_error(toy, words):
    command = f"set -o pipefail; {sys.executable} {toy} {words} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_a_full_device_is_no_defect(toy):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, toy, "many"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: No space left on device")


def test_ctrl_c_ends_with_130_and_one_line(toy):
    with subprocess.Popen([sys.executable, str(toy), "wait"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "interrupted: stopped by the keyboard\n"
    assert process.returncode == 130


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_installed(installed, tmp_path, shell):
    home = {"HOME": str(tmp_path), "SHELL": f"/bin/{shell}"}
    done = python("-m", PROGRAMS["statewise"], "--install-completion", env=installed | home)
    assert done.returncode == 0, done.stderr
    scripts = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and "doctor" in path.read_text(encoding="utf-8")
    ]
    assert len(scripts) == 1


def test_completion_offers_the_names_of_layers(installed):
    done = python("-m", PROGRAMS["statewise"], "__complete", "layers", "", env=installed)
    assert done.returncode == 0, done.stderr
    assert "s5" in [line.partition("\t")[0] for line in done.stdout.splitlines()]
