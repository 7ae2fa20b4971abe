"""A lone `-` reaches the command as it was typed; a message that quotes it reads right."""

from __future__ import annotations

from pathlib import Path

import pytest

from statewise.core.cli import App
from statewise.core.cli.options import Terminal


@pytest.fixture
def seen() -> list:
    return []


@pytest.fixture
def app(seen: list) -> App:
    made = App("toy", summary="A toy.", version="1")

    @made.command
    def read(data: list[str], /, *, rows: int = 1, console: Terminal) -> None:
        """Read."""
        seen.append((data, rows))

    @made.command
    def copy(source: Path, /, *, out: Path | None = None, console: Terminal) -> None:
        """Copy."""
        seen.append((source, out))

    return made


def test_a_hyphen_is_an_argument(app: App, seen: list):
    assert app.run(["read", "a.csv", "-", "--rows", "2"]) == 0
    assert app.run(["copy", "-", "--out", "-"]) == 0
    assert seen == [(["a.csv", "-"], 2), (Path("-"), Path("-"))]


def test_an_option_that_does_not_exist_is_still_refused(app: App, capsys: pytest.CaptureFixture[str]):
    assert app.run(["read", "-", "--row", "2"]) == 2
    assert "did you mean '--rows'" in capsys.readouterr().err


def test_a_hyphen_where_a_number_belongs_is_quoted(app: App, capsys: pytest.CaptureFixture[str]):
    assert app.run(["read", "a", "--rows", "-"]) == 2
    assert "-" in capsys.readouterr().err
