"""What a benchmark leaves behind: a committed JSON document and the page in docs generated from it.

A script measures, builds a `Result` and calls `publish`. The JSON holds all that the page says, so that a
test can generate the page again and compare. Nothing in it names the machine: conditions are stated as facts
(one thread, CPU time), speeds as ratios where the machine matters.

    result = Result(
        benchmark="timeseries/nlinear_ett", title="NLinear on ETTh1", summary="...", seeds=(0,),
        versions=versions("statewise-timeseries", "torch"),
        data=(fingerprint(path, origin="...", licence="..."),),
        protocol={"lookback": "336"}, rows=tuple(rows), tables=(Table(title="...", columns=..., rows=...),),
    )
    publish(result)

A run of many parts keeps its finished ones in a `Ledger` and takes up where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from statewise.core.config import from_dict, to_dict
from statewise.core.errors import DataError

__all__ = [
    "ROOT", "Column", "Data", "Ledger", "Result", "Table", "committed", "data_file", "fingerprint", "publish",
    "read", "render", "stale", "versions",
]  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
"""The project's root."""

Cell = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Data:
    """One file that was measured on."""

    file: str
    """Its name, without a folder."""
    sha256: str
    """Digest of its bytes, 64 hex digits."""
    origin: str
    """Who published it, and where it can be had."""
    licence: str
    """Its terms."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    key: str
    """The key of its value in a row."""
    label: str
    """Its header."""
    format: str = ""
    """Format specification of a number, such as `.4f` or `+.1%`."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of the page."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[dict[str, Cell], ...]
    note: str = ""
    """A paragraph under the table: what the columns mean, and where ours is worse."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything a benchmark says."""

    benchmark: str
    """Its script without ending, from the folder benchmarks: `timeseries/tpgn_ett`."""
    title: str
    summary: str
    """The outcome in a few sentences, with what it does not show."""
    versions: dict[str, str]
    """Distributions that made the result, with their versions; `python` too."""
    protocol: dict[str, str]
    """Data split, lookback, scaling, windows kept, budget, threads: what another needs to repeat it."""
    rows: tuple[dict[str, Any], ...]
    """The measurements one by one, before any averaging."""
    tables: tuple[Table, ...]
    """What the page shows of them."""
    data: tuple[Data, ...] = ()
    """Files measured on; empty when the script makes its data."""
    seeds: tuple[int, ...] = ()
    options: tuple[str, ...] = ()
    """Arguments the script was started with."""
    still_valid: dict[str, str] = field(default_factory=dict)
    """Later versions of statewise for which these figures still stand, each with the reason."""

    @property
    def command(self) -> str:
        """What to type in the project's root to measure again."""
        return " ".join(["uv run python -m", "benchmarks." + self.benchmark.replace("/", "."), *self.options])

    @property
    def script(self) -> Path:
        return ROOT / "benchmarks" / f"{self.benchmark}.py"

    @property
    def document(self) -> Path:
        """The committed JSON."""
        return self.script.with_suffix(".json")

    @property
    def page(self) -> Path:
        """The generated page."""
        return ROOT / "docs" / "benchmarks" / f"{self.script.stem}.md"


def versions(*distributions: str) -> dict[str, str]:
    """Versions of Python and of installed distributions, by name."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python} | {name: metadata.version(name) for name in distributions}


def fingerprint(path: Path, *, origin: str, licence: str) -> Data:
    """The `Data` of a file, read whole."""
    return Data(
        file=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), origin=origin, licence=licence
    )


def data_file(name: str) -> Path:
    """The file `name` (such as `timeseries/ETTh1.csv`) under the folder that STATEWISE_DATA names.

    Raises:
        DataError: when the variable is unset or the file is not there.
    """
    folder = os.environ.get("STATEWISE_DATA", "")
    if not folder or not (Path(folder) / name).is_file():
        raise DataError(
            "the benchmark's data are not there",
            where=f"STATEWISE_DATA={folder}",
            expected=f"a folder with {name}",
            fix="set STATEWISE_DATA to the folder of data sets",
        )
    return Path(folder) / name


def publish(result: Result) -> None:
    """Write the JSON beside the script and the page into docs/benchmarks."""
    values = {"benchmark": result.benchmark, "command": result.command} | to_dict(result)
    result.document.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    result.page.parent.mkdir(parents=True, exist_ok=True)
    result.page.write_text(render(result), encoding="utf-8")


def read(path: Path) -> Result:
    """The result in a committed JSON document, strictly: an unknown or a missing key is a `ConfigError`."""
    values = json.loads(path.read_text(encoding="utf-8"))
    values.pop("command", None)
    return from_dict(Result, values, where=path.name)


def committed() -> list[Path]:
    """Every committed document, in the order of their names."""
    return sorted((ROOT / "benchmarks").glob("*/*.json"))


def stale(path: Path) -> list[str]:
    """What is wrong with a committed document, one sentence each; empty when it is fresh."""
    values, result = json.loads(path.read_text(encoding="utf-8")), read(path)
    faults = []
    if result.document != path or not result.script.is_file():
        faults.append(f"'{result.benchmark}' does not name the script beside the document")
    if values.get("command") != result.command:
        faults.append(f"the command is not '{result.command}'")
    if not (result.rows and result.tables and result.protocol and result.summary):
        faults.append("rows, tables, protocol and summary must not be empty")
    for name in (name for name in result.versions if name.startswith("statewise")):
        current = metadata.version(name)
        if result.versions[name] != current and current not in result.still_valid:
            faults.append(f"measured with {name} {result.versions[name]}, this is {current}: measure again, "
                          "or say under still_valid why the figures stand")  # fmt: skip
    if not any(name.startswith("statewise") for name in result.versions):
        faults.append("versions names no statewise distribution")
    if not result.page.is_file() or result.page.read_text(encoding="utf-8") != render(result):
        faults.append(f"docs/benchmarks/{result.page.name} is not what the document generates")
    return faults


def render(result: Result) -> str:
    """The page, as Markdown."""
    source = f"benchmarks/{result.benchmark}"
    seeds = f" (seeds {', '.join(map(str, result.seeds))})" if result.seeds else ""
    parts = [
        f"# {result.title}",
        f"<!-- Generated by {source}.py from {source}.json. Do not edit. -->",
        result.summary,
        *(text for table in result.tables for text in _table(table)),
        "## Protocol",
        _grid(("", ""), [(f"**{name}**", text) for name, text in result.protocol.items()]),
        f"Measure again: `{result.command}`{seeds}",
    ]
    if result.data:
        rows = [(data.file, f"`{data.sha256[:16]}…`", data.origin, data.licence) for data in result.data]
        parts += ["## Data", _grid(("file", "sha256", "origin", "licence"), rows)]
    parts += ["## Versions", ", ".join(f"{name} {version}" for name, version in result.versions.items())]
    parts += [f"Still valid for {version}: {reason}" for version, reason in result.still_valid.items()]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> Iterable[str]:
    yield f"## {table.title}"
    numeric = [any(isinstance(row.get(c.key), int | float) for row in table.rows) for c in table.columns]
    rows = [[_cell(row.get(column.key), column.format) for column in table.columns] for row in table.rows]
    yield _grid([column.label for column in table.columns], rows, numeric)
    if table.note:
        yield table.note


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool] = ()) -> str:
    """A Markdown table; numbers stand at the right."""
    rules = ["--:" if right else "---" for right in numeric] or ["---"] * len(header)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rules, *rows))


def _cell(value: Cell, form: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format(value, form) if isinstance(value, int | float) else str(value)


class Ledger:
    """Finished parts of a long run, one JSON line each, under `runs/benchmarks`.

    A run that is stopped loses the part it was at, no more.

    Args:
        benchmark: as in `Result`.
        key: the fields of a row that name its part.
    """

    def __init__(self, benchmark: str, key: Sequence[str]) -> None:
        self.benchmark, self.key = benchmark, tuple(key)
        self.path = ROOT / "runs" / "benchmarks" / f"{benchmark.replace('/', '-')}.jsonl"
        self.rows: list[dict[str, Any]] = []
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            self.rows = [json.loads(line) for line in lines if line.endswith("}")]

    def find(self, **part: Any) -> dict[str, Any] | None:
        """The row of a part, or None when it is still to do."""
        return next((row for row in self.rows if all(row[name] == part[name] for name in self.key)), None)

    def keep_committed(self, valid: Callable[[dict[str, Any]], bool]) -> None:
        """Count the rows of the committed document that are still `valid` as finished parts."""
        document = ROOT / "benchmarks" / f"{self.benchmark}.json"
        for row in read(document).rows if document.is_file() else ():
            if valid(row) and self.find(**row) is None:
                self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a finished part."""
        self.rows.append(dict(row))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
