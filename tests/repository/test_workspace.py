"""The promises of the monorepo itself: one namespace, one version, one lock without addresses."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["core", "apps/timeseries", "apps/vision", "apps/recsys", "apps/rl", "apps/speech"]


def project(folder: str) -> dict:
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def lock_script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("lock_script", str(ROOT / "scripts/lock"))
    spec = importlib.util.spec_from_loader("lock_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_statewise_is_a_namespace_without_init() -> None:
    assert list(ROOT.glob("**/src/statewise/__init__.py")) == []


@pytest.mark.parametrize("folder", PARTS)
def test_all_distributions_carry_one_version(folder: str) -> None:
    version = project(".")["version"]
    part = project(folder)
    assert part["version"] == version
    pins = [need.replace("[tables]", "") for need in part["dependencies"] if need.startswith("statewise")]
    assert pins == ([] if folder == "core" else [f"statewise-core=={version}"])
    name = folder.rpartition("/")[2]
    source = ROOT / folder / "src/statewise" / name / "__init__.py"
    assert f'__version__ = "{version}"' in source.read_text(encoding="utf-8")


def test_root_extras_pin_every_app() -> None:
    root = project(".")
    extras = root["optional-dependencies"]
    for name in ("timeseries", "vision", "recsys", "rl", "speech"):
        assert extras[name] == [f"statewise-{name}=={root['version']}"]
    assert extras["all"] == ["statewise[timeseries,vision,recsys,rl,speech]"]
    assert root["dependencies"] == [f"statewise-core=={root['version']}"]


@pytest.mark.parametrize("folder", PARTS[1:])
def test_every_command_is_installed_twice(folder: str) -> None:
    scripts = project(folder)["scripts"]
    short = {name: target for name, target in scripts.items() if not name.startswith("statewise-")}
    assert {f"statewise-{name}": target for name, target in short.items()} == {
        name: target for name, target in scripts.items() if name.startswith("statewise-")
    }
    assert len(short) == 1


def test_committed_lock_holds_no_address_and_keeps_every_version(lock_script: ModuleType) -> None:
    assert lock_script.faults(lock_script.strip(lock_script.committed())) == []
    if (ROOT / ".git").exists():
        shown = subprocess.run(
            ["git", "show", "HEAD:uv.lock"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert "://" not in shown.stdout
        assert "sha256" not in shown.stdout


def test_an_older_pin_in_the_lock_is_kept(lock_script: ModuleType) -> None:
    text = lock_script.strip(lock_script.committed())
    pinned = dict(lock_script.versions(text))["absl-py"]
    older = text.replace(f'name = "absl-py"\nversion = "{pinned}"', 'name = "absl-py"\nversion = "2.3.0"')
    assert older != text
    assert dict(lock_script.versions(lock_script.resolved(older)))["absl-py"] == "2.3.0"


def test_an_address_in_the_lock_is_a_fault(lock_script: ModuleType) -> None:
    text = lock_script.strip(lock_script.committed())
    dirty = text.replace('registry = "index"', 'registry = "https://example.org/simple"', 1)
    assert any("an address" in fault for fault in lock_script.faults(dirty))


@pytest.mark.parametrize("command", ["forecast", "statewise", "vision", "recsys", "rl", "speech"])
def test_help_names_the_verbs_quickly_without_heavy_imports(command: str) -> None:
    module = {"forecast": "timeseries.cli", "statewise": "core.cli.main"}.get(command, f"{command}.cli")
    program = (
        "import sys, time\n"
        f"sys.argv = ['{command}', '--help']\n"
        f"from statewise.{module} import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'polars', 'matplotlib', 'numba', 'scipy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print('CPU', time.process_time())\n"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        seconds.append(float(done.stdout.rpartition("CPU ")[2]))
    assert min(seconds) < 0.5, seconds
