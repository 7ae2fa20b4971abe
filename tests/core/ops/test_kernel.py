"""A kernel on disk is recognised by all the sources that are compiled into it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from statewise.core.ops import kernel
kernel.ROOT = __import__("pathlib").Path({folder!r}) / "ops"
from ops import outer
print(outer.outer(1.0), sum(outer.outer.stats.cache_hits.values()))
"""
OUTER = """
from statewise.core.ops.kernel import kernel
from ops.inner import inner
# what the stamp follows:
'''
from statewise.core.ops.inner import inner
'''

@kernel(nogil=True)
def outer(x):
    return inner(x)
"""


def test_a_change_in_an_imported_module_is_noticed(tmp_path):
    folder = tmp_path / "ops"
    folder.mkdir()
    (folder / "outer.py").write_text(OUTER, encoding="utf-8")
    (folder / "kernel.py").write_text("", encoding="utf-8")  # what outer.py imports, where ROOT points now
    assert answer(tmp_path, "x + 1") == "2.0 0"
    assert answer(tmp_path, "x + 1") == "2.0 1"
    assert answer(tmp_path, "x + 2") == "3.0 0"


def answer(folder: Path, body: str) -> str:
    """What a new process computes, and how many compiled forms it found on disk."""
    source = f"import numba\n\n@numba.njit\ndef inner(x):\n    return {body}\n"
    (folder / "ops" / "inner.py").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM.format(folder=str(folder))],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return done.stdout.strip()


def test_the_sources_of_a_kernel_are_those_it_imports():
    from statewise.core.ops import kernel

    file = kernel.ROOT / "selective_scan" / "cpu.py"
    names = {path.relative_to(kernel.ROOT).as_posix() for path in kernel.sources(file)}
    assert {"selective_scan/cpu.py", "tiles.py", "simd.py", "elementary.py", "threads.py"} <= names
    assert "linear_scan/cpu.py" not in names
    assert all((kernel.ROOT / name).is_file() for name in names)
