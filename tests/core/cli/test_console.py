"""The console on a terminal and off it."""

from __future__ import annotations

import io
import re

import pytest

from statewise.core.cli import Console, progress


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(progress, "LONG", 0.0)


def plain(stream: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


def test_a_table_is_plain_in_a_pipe_and_drawn_on_a_terminal():
    pipe, screen = io.StringIO(), Screen()
    for stream in (pipe, screen):
        Console(stdout=stream, stderr=io.StringIO()).table(["name", "score"], [["[b]a", 1.5], ["c", None]])
    assert pipe.getvalue() == "name  score\n[b]a  1.500\nc         -\n"
    lines = [line.strip() for line in plain(screen).splitlines() if line.strip()]
    assert lines[0].split() == ["name", "score"]
    assert "─" in lines[1]
    assert lines[2].split() == ["[b]a", "1.500"]
    assert lines[3].split() == ["c", "-"]


def test_a_dumb_terminal_is_no_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen()
    Console(stdout=screen, stderr=screen).table(["a"], [[1]])
    assert screen.getvalue() == "a\n1\n"


def test_json_silences_tables_and_text_but_not_remarks():
    out, err = io.StringIO(), io.StringIO()
    console = Console(json=True, stdout=out, stderr=err)
    console.table(["a"], [[1]])
    console.show("text")
    console.say("remark")
    assert out.getvalue() == ""
    console.result({"a": float("inf")})
    assert out.getvalue() == '{\n  "a": null\n}\n'
    assert err.getvalue() == "remark\n"


def test_without_json_a_result_prints_nothing_but_counts():
    out = io.StringIO()
    console = Console(stdout=out, stderr=io.StringIO())
    console.result({})
    assert out.getvalue() == ""
    with pytest.raises(RuntimeError, match="one JSON document"):
        console.result({})


def work(console: Console) -> None:
    with console.progress("Fitting") as bar:
        bar.update(0.25, "epoch 1")
        console.say("a remark [b]in between[/b]")
        bar.update(1.5, "epoch 2")


def test_the_bar_shows_label_share_and_note_and_lets_remarks_through():
    screen = Screen()
    work(Console(stdout=io.StringIO(), stderr=screen))
    text = plain(screen)
    for part in ("Fitting", "25%", "100%", "ETA", "epoch 2", "a remark [b]in between[/b]\n"):
        assert part in text


@pytest.mark.parametrize(
    ("settings", "stream"), [({}, io.StringIO), ({"quiet": True}, Screen), ({"json": True}, Screen)]
)
def test_there_is_no_bar_off_a_terminal_under_quiet_and_under_json(settings, stream):
    err = stream()
    work(Console(stdout=io.StringIO(), stderr=err, **settings))
    assert err.getvalue() == ("" if settings.get("quiet") else "a remark [b]in between[/b]\n")


def test_short_work_draws_nothing(monkeypatch):
    monkeypatch.setattr(progress, "LONG", 2.0)
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    screen = Screen()
    console = Console(stdout=io.StringIO(), stderr=screen)
    with console.progress("Short") as bar:
        for done in range(10):
            clock[0] = done * 0.15
            bar.update(done / 10)
    assert screen.getvalue() == ""


@pytest.mark.parametrize(
    ("elapsed", "share", "shown"),
    [(0.6, 0.1, True), (0.6, 0.9, False), (0.4, 0.01, False), (2.0, 0.99, True), (1.0, 0.0, False)],
)
def test_the_bar_appears_once_more_than_two_seconds_are_to_be_expected(monkeypatch, elapsed, share, shown):
    monkeypatch.setattr(progress, "LONG", 2.0)
    bar = progress.Progress("Work", Screen())
    opened = []
    monkeypatch.setattr(bar, "_open", lambda *arguments: opened.append(arguments))
    clock = [10.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with bar:
        clock[0] += elapsed
        bar.update(share)
    assert bool(opened) == shown


def test_a_bar_inside_a_bar_is_silent():
    screen = Screen()
    console = Console(stdout=io.StringIO(), stderr=screen)
    with console.progress("Outer") as outer:
        outer.update(0.5)
        with console.progress("Inner") as inner:
            inner.update(0.5)
            console.say("remark")
    with console.progress("Next") as later:
        later.update(0.5)
    text = plain(screen)
    assert "Outer" in text
    assert "remark\n" in text
    assert "Inner" not in text
    assert "Next" in text


def break_off(console: Console) -> None:
    with console.progress("Fitting") as bar:
        bar.update(0.5)
        raise ValueError("oops")


def test_an_error_inside_the_work_removes_the_bar():
    screen = Screen()
    console = Console(stdout=io.StringIO(), stderr=screen)
    with pytest.raises(ValueError, match="oops"):
        break_off(console)
    assert "\x1b[?25h" in screen.getvalue(), "the cursor is shown again"
    console.say("after")
    assert screen.getvalue().endswith("after\n")
