"""The frame of every command: exit codes, streams, errors."""

from __future__ import annotations

import logging
import sys
import warnings

import pytest

from statewise.core.cli import App
from statewise.core.cli.options import Anything, Duration, Terminal, names_of

LINES = ["what", "where", "seen", "expected", "fix"]


def test_results_go_to_stdout_and_remarks_to_stderr(run):
    done = run("fit", "a.csv", "b.csv")
    assert done.code == 0
    assert done.out == "Scores\nfile    score\na.csv  0.5000\nb.csv  0.5000\n"
    assert done.err == "assumed the best\n"


@pytest.mark.parametrize("flag", ["--quiet", "-q"])
def test_quiet_keeps_remarks_but_not_results(run, flag):
    done = run("fit", "a.csv", flag)
    assert done.err == ""
    assert "a.csv" in done.out


@pytest.mark.parametrize("words", [("fit", "a.csv", "--json"), ("--json", "train", "a.csv", "-q")])
def test_json_is_one_strict_document_and_nothing_else(run, words):
    done = run(*words)
    assert done.code == 0
    assert done.document["data"] == ["a.csv"]
    assert list(done.document) == ["data", "model", "lags", "fast", "seed", "epochs", "budget", "nothing"]
    assert done.document["nothing"] is None


def test_shared_options_are_understood(run):
    document = run(
        "fit",
        "a",
        "--budget",
        "1h30m",
        "--epochs",
        "3",
        "--seed",
        "5",
        "--lags",
        "1",
        "--lags",
        "2",
        "--json",
    ).document
    assert document["budget"] == 5400
    assert (document["epochs"], document["seed"], document["lags"]) == (3, 5, [1, 2])


def test_what_follows_two_hyphens_is_data(run):
    assert run("fit", "--json", "--", "--odd.csv", "-q").document["data"] == ["--odd.csv", "-q"]


def test_help_names_commands_aliases_and_shared_options(run):
    for words in [(), ("--help",), ("-h",)]:
        done = run(*words)
        assert done.code == 0
        assert done.err == ""
        for part in (
            "Usage: toy COMMAND",
            "A toy.",
            "fit (train)",
            "Fit a model.",
            "--json",
            "--config",
            "--install-completion",
        ):
            assert part in done.out


@pytest.mark.parametrize("name", ["fit", "train"])
def test_help_of_a_command_tells_the_whole_story(run, name):
    done = run(name, "--help")
    assert done.code == 0
    for part in (
        f"Usage: toy {name}",
        "The longer story.",
        "files to read",
        "--budget",
        "1m]",
        "--threads",
        "--quiet",
    ):
        assert part in done.out
    assert "console" not in done.out


@pytest.mark.parametrize("words", [("--version",), ("fit", "--version"), ("--quiet", "--version")])
def test_version(run, words):
    done = run(*words)
    assert (done.code, done.out, done.err) == (0, "toy 1.2.3\n", "")


def test_the_prefixed_command_calls_itself_so(run, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/statewise-toy"])
    assert "Usage: statewise-toy" in run("--help").out
    assert run("ft").err.startswith("error: statewise-toy: there is no command")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest"])
    assert "Usage: toy" in run("--help").out


WRONG = [
    (("ft",), "there is no command 'ft'", "did you mean 'fit'?"),
    (("zzz",), "there is no command 'zzz'", "'toy --help' lists them"),
    (("--jsn", "fit"), "there is no option '--jsn'", "did you mean '--json'?"),
    (("fit", "a", "--modle", "x"), "there is no option '--modle'", "did you mean '--model'?"),
    (("fit", "a", "--modle=x"), "there is no option '--modle'", "did you mean '--model'?"),
    (("fit", "a", "--quite"), "there is no option '--quite'", "did you mean '--quiet'?"),
    (("fit", "a", "--zzzzzz"), "there is no option '--zzzzzz'", "'toy fit --help' lists what it takes"),
    (("fit",), "needs DATA", "'toy fit --help' lists what it takes"),
    (("fit", "a", "--model"), "needs a value for --model", "'toy fit --help' lists what it takes"),
    (("fit", "a", "--config"), "needs a value for --config", "--help' lists what it takes"),
    (("fit", "a", "--seed", "1", "--seed", "2"), "--seed is given twice", "give it once"),
    (("fail", "a", "b"), "takes fewer words", "'toy fail --help' lists what it takes"),
]


@pytest.mark.parametrize(("words", "what", "fix"), WRONG, ids=lambda value: str(value))
def test_a_wrong_command_line_ends_with_2_and_the_fix(run, words, what, fix):
    done = run(*words)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: toy")
    assert what in done.err.splitlines()[0]
    assert done.err.splitlines()[-1].startswith("  fix: ")
    assert fix in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--seed", "x", "a whole number"),
        ("--seed", "-1", "at least 0"),
        ("--threads", "0", "at least 1"),
        ("--epochs", "0", "at least 1"),
        ("--epochs", "1.5", "a whole number"),
        ("--lags", "x", "a whole number"),
        ("--fast", "=maybe", "true or false"),
        ("--budget", "soon", "seconds, or numbers with d, h, m or s"),
    ],
)
def test_a_wrong_value_is_shown_with_what_was_expected(run, option, value, expected):
    words = [option + value] if value.startswith("=") else [option, value]
    done = run("fit", "a", *words)
    assert done.code == 2
    head, seen, wanted, *_ = done.err.splitlines()
    assert option in head
    assert seen == f"  seen: '{value.lstrip('=')}'"
    assert wanted == f"  expected: {expected}"


def test_usage_errors_are_documents_too(run):
    done = run("fit", "a", "--modle", "x", "--json")
    assert done.code == 2
    assert done.document == {
        "error": {
            "type": "UsageError",
            "what": "there is no option '--modle'",
            "where": "toy fit",
            "seen": None,
            "expected": None,
            "fix": "did you mean '--model'?",
        },
        "exit_code": 2,
    }


ENDINGS = [
    ("defect", 1, "ValueError", "a defect of statewise, not of your input: ValueError: oops"),
    ("silent", 1, "ValueError", "a defect of statewise, not of your input: ValueError"),
    ("vanished", 1, "FileNotFoundError", "a defect of statewise"),
    ("lost", 1, "ModuleNotFoundError", "a defect of statewise"),
    ("pipe", 1, "BrokenPipeError", "a defect of statewise"),
    (
        "data",
        2,
        "DataError",
        "error: d.csv, row 7: is no number\n  seen: 'x'\n  expected: a number\n  fix: --na x\n",
    ),
    ("memory", 2, "UserError", "there is not enough memory"),
    ("full", 2, "UserError", "error: runs/x/weights: No space left on device\n  fix: "),
    ("denied", 2, "UserError", "error: runs/x: Permission denied\n  fix: "),
    ("extra", 2, "MissingExtraError", 'fix: pip install "toy[tune]"'),
    ("keyboard", 130, "Interrupted", "interrupted: "),
    ("stopped", 130, "Interrupted", "interrupted: the best model so far is in runs/x\n"),
]


@pytest.mark.parametrize(("kind", "code", "name", "text"), ENDINGS)
def test_every_ending_has_its_code_and_message_but_no_traceback(run, kind, code, name, text):
    done = run("fail", kind)
    assert done.code == code
    assert done.out == ""
    assert text in done.err
    assert "Traceback" not in done.err
    assert ("--debug" in done.err) == (code == 1)


@pytest.mark.parametrize(("kind", "code", "name", "text"), ENDINGS)
def test_every_ending_is_a_document_under_json(run, kind, code, name, text):
    done = run("fail", kind, "--json")
    assert done.code == done.document["exit_code"] == code
    assert list(done.document) == ["error", "exit_code"]
    assert list(done.document["error"]) == ["type", *LINES]
    assert done.document["error"]["type"] == name
    assert done.document["error"]["what"]


@pytest.mark.parametrize("kind", ["defect", "data"])
def test_debug_shows_the_traceback(run, kind):
    done = run("fail", kind, "--debug")
    assert "Traceback (most recent call last)" in done.err
    assert "in fail" in done.err
    assert done.code == (1 if kind == "defect" else 2)


def test_debug_shows_where_a_usage_error_comes_from(run):
    assert "UnknownOptionError" in run("fit", "a", "--modle", "x", "--debug").err


def test_a_command_may_choose_its_exit_code(run):
    assert run("fail", "exit").code == 7


def test_a_lazy_command_is_imported_when_it_is_meant_and_not_before(run, program, tmp_path, monkeypatch):
    (tmp_path / "lazily.py").write_text(
        "from statewise.core.cli.options import Terminal\n"
        "def later(*, deep: int = 3, console: Terminal) -> None:\n"
        "    '''The whole story.\n\n    Told later.'''\n"
        "    console.result({'deep': deep})\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lazily", raising=False)
    program.command("lazily:later", alias="afterwards", summary="In short.")
    assert "In short." in run("--help").out
    assert "lazily" not in sys.modules
    assert run("later", "--deep", "4", "--json").document == {"deep": 4}
    assert run("afterwards", "--json").document == {"deep": 3}
    assert "Told later." in run("later", "--help").out
    monkeypatch.delitem(sys.modules, "lazily")


def test_stray_prints_do_not_reach_a_document(run, program):
    @program.command
    def noisy(*, console: Terminal) -> None:
        """Print where one should not."""
        sys.stdout.write("stray\n")
        console.result({"fine": True})

    done = run("noisy", "--json")
    assert done.document == {"fine": True}
    assert done.err == "stray\n"
    assert run("noisy").out == "stray\n"


def test_a_command_that_delivers_no_document_or_two_is_a_defect(run, program):
    @program.command
    def mute(*, console: Terminal) -> None:
        """Say nothing."""

    @program.command
    def twice(*, console: Terminal) -> None:
        """Say it twice."""
        console.result({"n": 1})
        console.result({"n": 2})

    done = run("mute", "--json")
    assert (done.code, done.document["exit_code"]) == (1, 1)
    assert run("mute").code == 0
    assert run("twice").code == 1
    done = run("twice", "--json")
    assert (done.code, done.document) == (1, {"n": 1})


def test_what_the_libraries_log_is_said_once_and_the_logger_is_left_as_it_was(run, program):
    logger = logging.getLogger("statewise")
    before = (logger.level, list(logger.handlers))

    @program.command
    def logs(*, console: Terminal) -> None:
        """Log."""
        logging.getLogger("statewise.deep").warning("falls back to %s", "portable")
        logging.getLogger("statewise").info("took cpu")
        logging.getLogger("statewise").debug("hidden")
        console.result({})

    assert run("logs").err == "warning: falls back to portable\ntook cpu\n"
    assert run("logs", "--quiet").err == "warning: falls back to portable\n"
    assert (logger.level, logger.handlers) == before


def test_a_default_command_takes_words_as_they_come(run):
    app = App("stub", summary="A stub.", version="0")
    taken = []

    @app.default
    def anything(*words: Anything, console: Terminal) -> None:
        """Take it all."""
        taken.append(words)
        console.result({"words": words})

    assert run("fit", "x.csv", "--epochs", "3", "--json", app=app).document == {
        "words": ["fit", "x.csv", "--epochs", "3"]
    }
    assert run(app=app).code == 0
    assert taken[-1] == ()
    assert "Usage: stub" in run("--help", app=app).out


def test_durations_of_a_commands_own(run, program):
    @program.command
    def wait(*, patience: Duration = 90.0, console: Terminal) -> None:
        """Wait."""
        console.result({"patience": patience})

    assert run("wait", "--json").document == {"patience": 90}
    assert run("wait", "--patience", "2m", "--json").document == {"patience": 120}
    assert "1m30s" in run("wait", "--help").out


def test_completion_offers_the_names_of_a_registry():
    offered = names_of("statewise.core.layers:LAYERS")(None)
    assert "s5" in offered
    assert "state space" in offered["s5"]


def test_a_console_without_unicode_does_not_end_the_command(program, capsysbinary, monkeypatch):
    import io

    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert program.run(["fit", "größe.csv"]) == 0
    narrow.flush()
    assert b"gr\\xf6" in narrow.buffer.getvalue()


def test_warnings_of_python_stay_warnings(run, program):
    @program.command
    def careful(*, console: Terminal) -> None:
        """Warn."""
        warnings.warn("mind the gap", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="mind the gap"):
        assert run("careful").code == 0
