"""`--config FILE`: defaults from a file, under the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import pytest
from cyclopts import Parameter

from statewise.core.cli.options import Terminal


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read."""

    date_format: str | None = None
    header: bool | None = None


Reading = Annotated[ReadOptions | None, Parameter(name="*")]
Depth = Annotated[int, Parameter(alias="-D")]


@pytest.fixture
def file(tmp_path):
    def write(text: str, name: str = "c.toml") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_values_stand_in_for_what_is_not_typed(run, file):
    path = file(
        'data = ["a.csv", "b.csv"]\nmodel = "tpgn"\nlags = [1, 2]\nfast = true\nbudget = "1h"\nepochs = 7\n'
    )
    document = run("fit", "--config", path, "--json").document
    assert document["data"] == ["a.csv", "b.csv"]
    assert (document["model"], document["lags"], document["fast"]) == ("tpgn", [1, 2], True)
    assert (document["budget"], document["epochs"], document["seed"]) == (3600, 7, 0)


def test_the_command_line_wins(run, file):
    path = file('data = ["a.csv"]\nmodel = "tpgn"\nlags = [1, 2]\nfast = true\nbudget = 90\n')
    words = ("x.csv", "--model", "naive", "--lags", "3", "--no-fast", "--budget", "2m")
    document = run("fit", *words, "--config", path, "--json").document
    assert document["data"] == ["x.csv"]
    assert (document["model"], document["lags"], document["fast"], document["budget"]) == (
        "naive",
        [3],
        False,
        120,
    )


def test_json_files_work_too_and_null_is_the_default(run, file):
    path = file(json.dumps({"seed": 3, "epochs": None, "data": ["a"]}), "c.json")
    document = run("--config", path, "fit", "--json").document
    assert (document["seed"], document["epochs"]) == (3, None)


def test_a_table_named_like_a_command_holds_for_that_command_only(run, file):
    path = file('seed = 1\n[fit]\nseed = 2\ndata = ["a"]\n[fail]\nkind = "stopped"\n')
    assert run("fit", "--config", path, "--json").document["seed"] == 2
    assert run("train", "--config", path, "--json").document["seed"] == 2
    path = file('[fit]\nseed = 2\n[fail]\nkind = "stopped"\n')
    assert run("fail", "--config", path).code == 130


def test_underscores_and_hyphens_are_one(run, program, file):
    @program.command
    def tune(*, learning_rate: float = 0.1, console: Terminal) -> None:
        """Tune."""
        console.result({"rate": learning_rate})

    for key in ("learning_rate", "learning-rate"):
        assert run("tune", "--config", file(f"{key} = 0.5"), "--json").document == {"rate": 0.5}


def test_fields_of_a_flattened_table_are_settings_but_positions_and_short_names_are_not(run, program, file):
    @program.command
    def load(path: str, /, *, read: Reading = None, depth: Depth = 1, console: Terminal) -> None:
        """Load."""
        console.result({"read": read, "depth": depth})

    document = run("load", "x", "--config", file('date_format = "%d"\ndepth = 3'), "--json").document
    assert document == {"read": {"date_format": "%d", "header": None}, "depth": 3}
    expected = "  expected: one of depth, date-format, header\n"
    for key in ("path", "PATH", "D", "read"):
        done = run("load", "x", "--config", file(f"{key} = 3"))
        assert done.code == 2
        assert sorted(expected[19:-1].split(", ")) == sorted(done.err.splitlines()[1][19:].split(", "))


@pytest.mark.parametrize("text", ["bugdet = 3", "[fit]\nbugdet = 3"])
def test_an_unknown_key_is_refused_with_the_nearest(run, file, text):
    path = file(text)
    done = run("fit", "a", "--config", path)
    assert done.code == 2
    assert done.err.startswith(
        f"error: {path}: 'fit' has no setting 'bugdet'\n  expected: one of data, model, "
    )
    assert done.err.endswith("  fix: did you mean 'budget'?\n")


@pytest.mark.parametrize(
    ("text", "setting", "seen", "expected"),
    [
        ('seed = "x"', "seed", "'x'", "a whole number"),
        ("seed = -4", "seed", "'-4'", "at least 0"),
        ("epochs = 1.5", "epochs", "'1.5'", "a whole number"),
        ('lags = [1, "x"]', "lags", "'x'", "a whole number"),
        ('fast = "perhaps"', "fast", "'perhaps'", "true or false"),
        ('budget = "soon"', "budget", "'soon'", "seconds, or numbers with d, h, m or s"),
    ],
)
def test_a_wrong_value_names_file_and_setting(run, file, text, setting, seen, expected):
    path = file(text)
    done = run("fit", "a", "--config", path)
    assert done.code == 2
    head, seen_line, wanted, _ = done.err.splitlines()
    assert head.startswith(f"error: {path}, {setting}: ")
    assert (seen_line, wanted) == (f"  seen: {seen}", f"  expected: {expected}")


def test_a_table_where_a_value_belongs_is_refused(run, file):
    done = run("fit", "a", "--config", file("seed = {a = 3}"))
    assert done.code == 2
    assert "there is no setting 'seed.a'" in done.err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.toml", "[fit", "is not valid TOML"),
        ("c.yaml", "a: 1", "a configuration file is TOML or JSON"),
        ("c.json", "[]", "no table"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(run, file, name, text, message):
    path = file(text, name)
    done = run("fit", "a", "--config", path, "--json")
    assert done.code == 2
    assert done.document["error"]["where"] == path
    assert message in done.document["error"]["what"]


def test_a_missing_file_is_refused(run, tmp_path):
    done = run("fit", "a", "--config", str(tmp_path / "none.toml"))
    assert done.code == 2
    assert "No such file" in done.err


def test_shared_options_are_not_settings(run, file):
    assert "'fit' has no setting 'json'" in run("fit", "a", "--config", file("json = true")).err


def test_a_config_does_not_outlive_its_run(run, file):
    assert run("fit", "a", "--config", file("seed = 3"), "--json").document["seed"] == 3
    assert run("fit", "a", "--json").document["seed"] == 0
