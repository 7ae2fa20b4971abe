"""The generated ends of the pages in docs/layers and of docs/choosing_a_layer.md.

Everything above the mark is written by hand. Below it stand, for a layer, its settings and measured costs,
made from its configuration and benchmarks/core/layers.json; for the choice, the figures of all layers side by
side, from layers.json, state_tracking.json and recall.json. A test compares them.

    python -m benchmarks.core.layer_pages      write the pages again, without measuring
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.results import ROOT
from statewise.core.config import config_class, field_docs
from statewise.core.layers import LAYERS

__all__ = ["CHOICE", "MARK", "chosen", "page_of", "rendered", "write_pages", "written_rows"]

MARK = "<!-- Generated below this line by benchmarks/core/layer_pages.py. Do not edit. -->"


CHOICE = ROOT / "docs" / "choosing_a_layer.md"


def main() -> None:
    write_pages(written_rows())
    CHOICE.write_text(chosen(CHOICE.read_text(encoding="utf-8")), encoding="utf-8")


def written_rows() -> list[dict[str, Any]]:
    """The measurements of benchmarks/core/layers.json."""
    return _document("layers")["rows"]


def chosen(page: str) -> str:
    """The page on choosing with its generated part made anew."""
    tracked = {(title, row["layer"]): row for title, row in _table_rows("state_tracking")}
    titles = list(dict.fromkeys(title for title, _ in tracked))
    recalled = {row["layer"]: row for _, row in _table_rows("recall")}
    header = ("layer", "µs per token, training", "µs per step", "state, bytes")
    lines = []
    for row in written_rows():
        name = row["layer"]
        found = recalled.get(name, {})
        verdicts = [tracked.get((title, name), {}).get("verdict", "") for title in titles]
        shares = [found.get(key) for key in ("recall_trained", "copying_trained")]
        cost = (f"{row['token_us']:.1f}", _or_blank(row["step_us"], ".0f"), _or_blank(row["state"], ",d"))
        link = f"[{name}](layers/{page_of(name).name})"
        lines.append((link, *cost, *verdicts, *(_or_blank(share, ".0%") for share in shares)))
    short = [title.partition(",")[0] for title in titles]
    grid = _grid((*header, *short, "recall", "copying"), lines)
    by_hand = page.partition(MARK)[0].rstrip()
    return "\n\n".join([by_hand, MARK, "## Figures", grid, SOURCES]) + "\n"


SOURCES = (
    "An empty place was not measured. Costs: [all layers](benchmarks/layers.md), float32, one thread. "
    "Parity, S3 and S5: [state tracking](benchmarks/state_tracking.md), trained at 40 and asked at 256. "
    "Recall and copying: [recall](benchmarks/recall.md), the share of right answers at equal parameters."
)


def _document(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "core" / f"{name}.json").read_text(encoding="utf-8"))


def _table_rows(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The rows of all tables of a document, each with the title of its table."""
    return [(table["title"], row) for table in _document(name)["tables"] for row in table["rows"]]


def _or_blank(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def write_pages(rows: list[dict[str, Any]]) -> None:
    """Put the generated part of each row's layer into its page."""
    for row in rows:
        path = page_of(row["layer"])
        path.write_text(rendered(path.read_text(encoding="utf-8"), row), encoding="utf-8")


def page_of(name: str) -> Path:
    return ROOT / "docs" / "layers" / f"{name.replace('-', '_')}.md"


def rendered(page: str, row: dict[str, Any]) -> str:
    """A page with its generated part made anew: what stands above the mark is kept."""
    by_hand = page.partition(MARK)[0].rstrip()
    parts = [by_hand, MARK, "## Settings", _settings(row["layer"]), "## Measured", _measured(row)]
    return "\n\n".join(parts) + "\n"


def _settings(name: str) -> str:
    config = config_class(LAYERS.load(name))
    docs = field_docs(config)
    rows = [
        (f"`{field.name}`", _default(field), docs[field.name].replace("|", "\\|").replace("\n", " "))
        for field in dataclasses.fields(config)
    ]
    return _grid(("setting", "default", "meaning"), rows)


def _default(field: dataclasses.Field[Any]) -> str:
    return "required" if field.default is dataclasses.MISSING else f"{field.default}"


def _measured(row: dict[str, Any]) -> str:
    entry = LAYERS[row["layer"]]
    operators = ", ".join(f"`{name}`" for name in entry.facts["ops"]) or "none, plain PyTorch"
    step, state = row["step_us"], row["state"]
    rows = [
        ("operators", operators),
        ("input", f"({row['shape'].replace('x', ', ')})"),
        ("parameters", f"{row['parameters']:,d}"),
        ("training, per token", f"{row['token_us']:.2f} µs, {row['token_ratio']:.2f} times `gru`"),
        ("a step of one stream", "none: it reads both ways" if step is None else f"{step:.0f} µs"),
        ("state of one stream", "none" if state is None else f"{state:,d} bytes"),
    ]
    how = "CPU time of one thread, forward and backward; protocol: [all layers](../benchmarks/layers.md)."
    return f"{_grid(('', ''), rows)}\n\n{how}"


def _grid(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    main()
