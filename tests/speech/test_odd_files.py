"""Every odd file is enhanced, or refused by name with the fix; none ends in a traceback or in silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from statewise.speech.cli import app
from tests.speech.sounds import BROKEN, GOOD, Broken, Good

WIENER = ("--model", "wiener")


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_an_odd_file_keeps_length_rate_channels_and_width(
    case: Good, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source = case.build(tmp_path)
    target = source.with_name(f"out{source.suffix}")
    assert app.run(["enhance", str(source), str(target), *WIENER, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["files"][0]
    assert case.remark in "; ".join(row["remarks"])
    before, after = soundfile.info(str(source)), soundfile.info(str(target))
    for name in ("samplerate", "channels", "frames"):
        assert getattr(before, name) == getattr(after, name)
    if before.format == after.format:
        assert before.subtype == after.subtype
    samples, _ = soundfile.read(target)
    assert np.isfinite(samples).all()


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_broken_input_names_the_file_and_the_fix(
    case: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = case.build(tmp_path)
    model = () if "--model" in words else WIENER
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert app.run(["enhance", *words, *model]) == 2
    message = capsys.readouterr().err
    for piece in case.expected:
        assert piece in message
    assert "\n  fix: " in message
    assert "Traceback" not in message
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before  # nothing half done


def test_there_are_enough_cases_with_names_of_their_own():
    names = [case.name for case in (*GOOD, *BROKEN)]
    assert len(names) == len(set(names)) >= 45
