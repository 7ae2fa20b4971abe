"""Every committed benchmark result is complete, made by a script that exists, and the source of its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.results import Column, Data, Ledger, Result, Table
from statewise.core.errors import ConfigError, DataError


@pytest.mark.parametrize("path", results.committed(), ids=lambda path: path.stem)
def test_committed_results_are_fresh(path: Path):
    assert results.stale(path) == []


def test_pages_have_names_of_their_own():
    pages = [results.read(path).page for path in results.committed()]
    assert len(set(pages)) == len(pages)


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(results, "ROOT", tmp_path)
    (tmp_path / "benchmarks" / "app").mkdir(parents=True)
    (tmp_path / "benchmarks" / "app" / "speed.py").touch()
    table = Table(
        title="Errors",
        columns=(
            Column(key="h", label="H"),
            Column(key="mse", label="MSE", format=".3f"),
            Column(key="ok", label="beats it"),
        ),
        rows=({"h": 24, "mse": 0.12345, "ok": True}, {"h": 48, "mse": None, "ok": False}),
        note="A note.",
    )
    return Result(
        benchmark="app/speed",
        title="Speed",
        summary="Fast.",
        versions=results.versions("statewise-core"),
        seeds=(0, 1),
        options=("--quick",),
        protocol={"threads": "one"},
        rows=({"h": 24, "seed": 0, "mse": 0.12345},),
        tables=(table,),
        data=(Data(file="x.csv", sha256="ab" * 32, origin="here", licence="CC0"),),
    )


def test_published_result_reads_back_and_is_fresh(result: Result):
    results.publish(result)
    assert results.read(result.document) == result
    assert results.committed() == [result.document]
    assert results.stale(result.document) == []


def test_page_says_what_the_document_holds(result: Result):
    page = results.render(result)
    assert (
        "| H | MSE | beats it |\n| --: | --: | --: |\n| 24 | 0.123 | yes |\n| 48 | - | no |\n\nA note."
        in page
    )
    assert "Measure again: `uv run python -m benchmarks.app.speed --quick` (seeds 0, 1)" in page
    assert f"| x.csv | `{('ab' * 32)[:16]}…` | here | CC0 |" in page


def test_edited_page_old_version_and_lost_script_are_stale(result: Result):
    old = replace(result, versions={"statewise-core": "0.0.1"})
    results.publish(old)
    current = results.versions("statewise-core")["statewise-core"]
    assert "measured with statewise-core 0.0.1" in results.stale(old.document)[0]
    results.publish(replace(old, still_valid={current: "only documentation changed"}))
    assert results.stale(old.document) == []

    results.publish(result)
    result.page.write_text(result.page.read_text().replace("0.123", "0.100"))
    assert "is not what the document generates" in results.stale(result.document)[0]
    results.publish(result)
    result.script.unlink()
    assert "does not name the script" in results.stale(result.document)[0]


def test_document_with_a_key_too_many_or_too_few_is_refused(result: Result):
    results.publish(result)
    text = result.document.read_text()
    result.document.write_text(text.replace('"summary"', '"sumary"'))
    with pytest.raises(ConfigError, match="sumary"):
        results.read(result.document)
    result.document.write_text(text.replace('"summary": "Fast.",', ""))
    with pytest.raises(ConfigError, match="summary"):
        results.read(result.document)


def test_ledger_takes_up_where_it_was_stopped(result: Result):
    ledger = Ledger("app/speed", key=("h", "seed"))
    ledger.add({"h": 24, "seed": 0, "mse": 0.5})
    with ledger.path.open("a") as file:
        file.write('{"h": 24, "seed": 1, "ms')
    again = Ledger("app/speed", key=("h", "seed"))
    assert again.find(h=24, seed=0) == {"h": 24, "seed": 0, "mse": 0.5}
    assert again.find(h=24, seed=1) is None


def test_missing_data_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("STATEWISE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"timeseries/ETTh1\.csv"):
        results.data_file("timeseries/ETTh1.csv")
