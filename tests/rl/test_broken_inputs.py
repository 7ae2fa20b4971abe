from __future__ import annotations

import sys
from pathlib import Path

import pytest
from broken_inputs import CASES, Broken

from statewise.rl.cli import app


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_broken_input_is_named_and_ends_with_two(case: Broken, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for module in ("minatar", "minatar.gym"):  # as where the extra is not installed
        monkeypatch.setitem(sys.modules, module, None)
    code = app.run(case.build(tmp_path))
    said = capsys.readouterr()
    assert code == 2, said.err
    for piece in case.expected:
        assert piece in said.err
    assert "Traceback" not in said.err
    assert not said.out


@pytest.mark.parametrize("words", [("CartPol-v1",), ("tmaze", "--set", "wdth=3"), ("gone.npz",)])
def test_what_is_refused_leaves_no_run_behind(words: tuple[str, ...], tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert app.run(["fit", *words]) == 2
    assert not (tmp_path / "runs").exists()


def test_there_are_enough_of_them():
    assert len(CASES) >= 20
    assert len({case.name for case in CASES}) == len(CASES)
