"""The generated end of every page in docs/layers: facts of the registry, settings, and measured costs.

Everything above the mark is written by hand; everything below is made by `write_pages` from the registry, the
documentation of the configuration and benchmarks/core/layers.json, and a test compares it.

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

__all__ = ["page_of", "rendered", "write_pages", "written_rows"]

MARK = "<!-- Generated below this line by benchmarks/core/layer_pages.py. Do not edit. -->"


def main() -> None:
    write_pages(written_rows())


def written_rows() -> list[dict[str, Any]]:
    """The measurements of benchmarks/core/layers.json."""
    document = ROOT / "benchmarks" / "core" / "layers.json"
    return json.loads(document.read_text(encoding="utf-8"))["rows"]


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
