"""The `statewise` command: doctor, layers, bench, warmup."""

from __future__ import annotations

import sys
from dataclasses import fields
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch

from statewise.core import __version__, bench, diagnosis, machine, ops
from statewise.core.cli.main import app
from statewise.core.config import config_class
from statewise.core.layers import LAYERS, build


@pytest.fixture
def statewise(run):
    return lambda *words: run(*words, app=app)


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A table whose keys are all there and no others."""


class Machine(Strict):
    system: str
    architecture: str
    processor: str
    vector_instructions: str
    cores: int
    usable_cores: int
    memory_bytes: int | None


class Threads(Strict):
    torch: int
    OMP_NUM_THREADS: str | None


class Device(Strict):
    device: str
    name: str
    memory_bytes: int | None


class Choice(Strict):
    backend: str
    reason: str


class Cache(Strict):
    directory: str
    writable: bool


class InstalledApp(Strict):
    version: str
    command: str | None


class Report(Strict):
    statewise: str
    python: str
    packages: dict[str, str | None]
    machine: Machine
    threads: Threads
    devices: list[Device]
    operators: dict[str, dict[str, Choice]]
    numba_cache: Cache
    apps: dict[str, InstalledApp]
    extras: dict[str, dict[str, str | None]]
    problems: list[str]


class LayerRow(Strict):
    name: str
    summary: str
    paper: str
    year: int | None
    operators: list[str]
    backends: list[str]
    step: bool
    reset: bool
    origin: str
    parameters: int | None


class Catalogue(Strict):
    layers: list[LayerRow]
    d_model: int | None


class Figures(Strict):
    milliseconds: float
    times_the_loop: float
    share_of_bandwidth: float


class Measurement(Strict):
    operator: str
    case: str
    rounds: int
    gigabytes_per_second: float
    chosen: str
    backends: dict[str, Figures]


class Bench(Strict):
    threads: int
    time: str
    results: list[Measurement]


class Compiled(Strict):
    operator: str
    seconds: float | None
    note: str


class Warmup(Strict):
    operators: list[Compiled]
    seconds: float


def test_doctor_reports_what_its_schema_promises(statewise):
    done = statewise("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    report = msgspec.convert(done.document, Report)
    assert report.statewise == __version__
    assert report.packages["torch"] == torch.__version__.partition("+")[0]
    assert report.machine.cores >= report.machine.usable_cores >= 1
    assert report.threads.torch == 1
    assert report.devices[0].device == "cpu"
    assert set(report.operators) == set(ops.OPERATORS)
    assert all(set(choices) == {"cpu", "cuda"} for choices in report.operators.values())
    assert report.operators["linear_scan"]["cpu"].backend in ops.BACKENDS
    assert report.apps["timeseries"].command == "forecast"
    assert set(report.extras["statewise-core[tensorboard]"]) == {"tensorboard"}


def test_doctor_tells_people_the_same(statewise):
    done = statewise("doctor")
    assert done.code == 0
    for part in (
        f"statewise  {' ' * 18}{__version__}"[:9],
        torch.__version__.partition("+")[0],
        machine.processor(),
    ):
        assert part in done.out
    for name in ops.OPERATORS:
        assert name in done.out
    assert done.out.splitlines()[-1] == "no problems found" or "problem: " in done.out


@pytest.fixture
def healthy() -> dict[str, Any]:
    return {
        "statewise": "1.0",
        "packages": {"numba": "0.62"},
        "numba_cache": {"directory": "x", "writable": True},
        "apps": {"timeseries": {"version": "1.0", "command": "forecast"}},
    }


def test_a_sound_installation_has_no_problems(healthy, monkeypatch):
    monkeypatch.delenv("STATEWISE_BACKEND", raising=False)
    assert diagnosis.problems(healthy) == []


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        ("packages", {"numba": None}, "reinstall statewise-core"),
        ("numba_cache", {"directory": "x", "writable": False}, "set NUMBA_CACHE_DIR"),
        ("apps", {"timeseries": {"version": "0.9", "command": "forecast"}}, "0.9, 1.0: install the same one"),
    ],
)
def test_each_problem_comes_with_its_fix(healthy, monkeypatch, key, value, fix):
    monkeypatch.delenv("STATEWISE_BACKEND", raising=False)
    (problem,) = diagnosis.problems(healthy | {key: value})
    assert fix in problem


def test_a_backend_forced_by_the_environment_is_mentioned(statewise, monkeypatch):
    monkeypatch.setenv("STATEWISE_BACKEND", "portable")
    document = statewise("doctor", "--json").document
    assert any("STATEWISE_BACKEND=portable" in problem for problem in document["problems"])
    assert document["operators"]["linear_scan"]["cpu"] == {"backend": "portable", "reason": "chosen by hand"}


def test_a_cache_that_cannot_be_written_is_noticed(statewise, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    document = statewise("doctor", "--json").document
    assert document["numba_cache"] == {"directory": str(tmp_path / "file" / "cache"), "writable": False}
    assert any("NUMBA_CACHE_DIR" in problem for problem in document["problems"])
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "not" / "yet"))
    assert statewise("doctor", "--json").document["numba_cache"]["writable"]


def test_layers_lists_every_row_of_the_registry(statewise):
    catalogue = msgspec.convert(statewise("layers", "--json").document, Catalogue)
    assert [row.name for row in catalogue.layers] == list(LAYERS)
    s5 = next(row for row in catalogue.layers if row.name == "s5")
    assert (s5.operators, s5.step, s5.parameters) == (["linear_scan"], True, None)
    assert {row.name for row in catalogue.layers if not row.step} == {
        name for name, entry in LAYERS.entries().items() if not entry.facts["streaming"]
    }
    assert [row.name for row in catalogue.layers if not row.reset] == ["plstm2d"]
    shown = statewise("layers").out
    assert all(name in shown for name in LAYERS)
    assert "parameters" not in shown.splitlines()[0]


def test_layers_names_the_backends_of_all_operators(statewise):
    catalogue = msgspec.convert(statewise("layers", "--json").document, Catalogue)
    for row in catalogue.layers:
        shared = [set(ops.OPERATORS[name].backends) for name in row.operators]
        wanted = set.intersection(*shared) - {"reference"} if shared else {"portable"}
        assert set(row.backends) == wanted, row.name


def test_layers_counts_parameters_at_a_width(statewise):
    catalogue = msgspec.convert(statewise("layers", "--parameters", "32", "--json").document, Catalogue)
    assert catalogue.d_model == 32
    expected = sum(parameter.numel() for parameter in build("s5", d_model=32).parameters())
    assert next(row.parameters for row in catalogue.layers if row.name == "s5") == expected
    assert "parameters" in statewise("layers", "--parameters", "32").out.splitlines()[0]


@pytest.mark.parametrize("width", ["0", "x"])
def test_layers_refuses_an_impossible_width(statewise, width):
    assert statewise("layers", "--parameters", width).code == 2


def test_layers_tells_the_settings_of_one(statewise):
    document = statewise("layers", "S5", "--json").document
    assert [row["setting"] for row in document["settings"]] == [
        f.name for f in fields(config_class(LAYERS.load("s5")))
    ]
    assert document["settings"][0] == {
        "setting": "d_model",
        "default": None,
        "required": True,
        "meaning": document["settings"][0]["meaning"],
    }
    assert all(row["meaning"] for row in document["settings"])
    assert "d_model" in statewise("layers", "s5").out


def test_layers_offers_the_nearest_name(statewise):
    done = statewise("layers", "s6")
    assert done.code == 2
    assert "did you mean 's5'?" in done.err


@pytest.fixture
def tiny(monkeypatch) -> bench.Case:
    def prepare():
        a, b = (torch.full((1, 8, 4), 0.5, requires_grad=True) for _ in range(2))
        return lambda: ops.linear_scan(a, b)

    case = bench.Case(operator="linear_scan", label="tiny", prepare=prepare, floats=8 * 32)
    monkeypatch.setattr(bench, "CASES", (case,))
    monkeypatch.setattr(bench, "COPIED", 1 << 10)
    monkeypatch.setenv("STATEWISE_BACKEND", "portable")  # nothing to compile
    return case


def test_bench_measures_every_backend_against_the_loop(statewise, tiny):
    done = statewise("bench", "--budget", "0.01", "--json")
    assert done.code == 0
    document = msgspec.convert(done.document, Bench)
    (result,) = document.results
    assert (document.threads, document.time, result.case) == (1, "CPU", "tiny")
    assert result.rounds >= 3
    assert list(result.backends)[:2] == ["reference", "portable"]
    assert result.chosen in result.backends
    assert result.backends["reference"].times_the_loop == 1.0
    assert result.gigabytes_per_second > 0
    shown = statewise("bench", "linear-scan", "--budget", "0.01").out
    assert f"{result.chosen} (chosen)" in shown


def test_bench_gives_the_threads_back(tiny):
    torch.set_num_threads(2)
    bench.measure(tiny, budget=0.0)
    assert torch.get_num_threads() == 2


def test_bench_knows_its_operators(statewise):
    done = statewise("bench", "linera_scan")
    assert done.code == 2
    assert "did you mean 'linear_scan'?" in done.err


def test_every_case_of_the_bench_runs_on_the_portable_backend():
    for case in bench.CASES:
        with ops.use_backend("portable"):
            outputs = case.prepare()()
        assert all(output.requires_grad and output.isfinite().all() for output in outputs)


def test_warmup_compiles_what_offers_it_and_says_why_others_do_not(statewise, monkeypatch):
    compiled = []
    for name, hooks in (("with_hook", {"warmup": lambda: compiled.append("with_hook")}), ("without", {})):
        module = ModuleType(f"toy_{name}.cpu")
        vars(module).update(hooks)
        monkeypatch.setitem(sys.modules, f"toy_{name}", ModuleType(f"toy_{name}"))
        monkeypatch.setitem(sys.modules, f"toy_{name}.cpu", module)
    table = {name: SimpleNamespace(package=f"toy_{name}") for name in ("with_hook", "without", "plain")}
    choices = {"plain": {"backend": "portable", "reason": "it is the fastest"}}
    monkeypatch.setattr(ops, "OPERATORS", table)
    monkeypatch.setattr(
        ops, "explain", lambda name, device: choices.get(name, {"backend": "cpu", "reason": ""})
    )
    document = msgspec.convert(statewise("warmup", "--json").document, Warmup)
    rows = {row.operator: row for row in document.operators}
    assert compiled == ["with_hook"]
    assert rows["with_hook"].seconds is not None
    assert document.seconds == rows["with_hook"].seconds
    assert (rows["without"].seconds, rows["without"].note) == (None, "compiles at its first call")
    assert (rows["plain"].seconds, rows["plain"].note) == (
        None,
        "runs on the backend 'portable': it is the fastest",
    )
    assert "with_hook" in statewise("warmup").out
