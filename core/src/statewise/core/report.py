"""A report as one HTML file: text, tables and figures, readable in light, in dark and on paper.

Nothing in it is loaded from elsewhere and nothing runs. Figures are drawn with matplotlib, which is imported
when the first one is; their lines take colours that colour-blind people can tell apart (Okabe and Ito, 2008),
their text and axes the colour of the page.
"""

from __future__ import annotations

import base64
import html
import io
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from statewise.core import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PALETTE", "Cell", "Report", "drawing", "png"]

Cell: TypeAlias = str | int | float | bool | None
"""What a table can hold; numbers of numpy are numbers too."""

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Blue, vermilion, green, purple, orange, sky."""

INK = "#2b2e34"
"""Text and axes in a PNG; in an SVG the colour of the page's text is put in its place."""

ABSENT = "\N{EN DASH}"


class Report:
    """Collects the parts of a page, in order.

    Args:
        title: the heading of the page.
        subtitle: one line below it.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self._parts: list[str] = []
        self._figures = 0

    def heading(self, text: str) -> None:
        """Start a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def notice(self, text: str) -> None:
        """Add a paragraph that must not be overlooked."""
        self._parts.append(f'<p class="notice">{html.escape(text)}</p>')

    def code(self, text: str) -> None:
        """Add commands or other text whose spaces and line breaks matter."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def facts(self, facts: Mapping[str, Cell]) -> None:
        """Add a list of names and values."""
        rows = (
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(_text(value, _decimals([value])))}</dd>"
            for name, value in facts.items()
        )
        self._parts.append(f"<dl>{''.join(rows)}</dl>")

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        caption: str = "",
        right: Collection[str] = (),
        strong: Collection[int] = (),
    ) -> None:
        """Add a table; the numbers of one column have the same decimals.

        Args:
            header: names of the columns.
            rows: cells; None and NaN are shown as a dash.
            caption: what the table shows, and in which units.
            right: columns of text that are aligned to the right, as columns of numbers are.
            strong: numbers of the rows to be emphasised.

        Raises:
            ValueError: a row has another number of cells than the header.
        """
        if any(len(row) != len(header) for row in rows):
            raise ValueError(f"every row needs {len(header)} cells")
        columns = [[row[place] for row in rows] for place in range(len(header))]
        decimals = [_decimals(column) for column in columns]
        kinds = [
            ' class="number"' if name in right or _is_numeric(column) else ""
            for name, column in zip(header, columns, strict=True)
        ]
        lines = ["<thead><tr>"]
        for name, kind in zip(header, kinds, strict=True):
            lines.append(f'<th scope="col"{kind}>{html.escape(name)}</th>')
        lines.append("</tr></thead><tbody>")
        for number, row in enumerate(rows):
            lines.append('<tr class="strong">' if number in strong else "<tr>")
            for cell, kind, places in zip(row, kinds, decimals, strict=True):
                lines.append(f"<td{kind}>{html.escape(_text(cell, places))}</td>")
            lines.append("</tr>")
        title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
        self._parts.append(f'<div class="table"><table>{title}{"".join(lines)}</tbody></table></div>')

    def figure(self, figure: Figure, *, caption: str, kind: Literal["svg", "png"] = "svg") -> None:
        """Add a figure made with `drawing`.

        Args:
            figure: the figure.
            caption: what it shows; also read aloud in its place.
            kind: `png` for figures of very many points, which would be large as `svg`.
        """
        self._figures += 1
        label = html.escape(caption, quote=True)
        if kind == "svg":
            image = _svg(figure, f"f{self._figures}", label)
        else:
            data = base64.b64encode(png(figure)).decode()
            image = f'<img alt="{label}" src="data:image/png;base64,{data}">'
        self._parts.append(f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>")

    def render(self) -> str:
        """The whole page."""
        title = html.escape(self.title)
        subtitle = f'<p class="subtitle">{html.escape(self.subtitle)}</p>' if self.subtitle else ""
        return PAGE.format(
            title=title, subtitle=subtitle, style=STYLE, body="\n".join(self._parts), version=__version__
        )


@contextmanager
def drawing(
    *, width: float = 8.0, height: float = 3.2, rows: int = 1, columns: int = 1
) -> Iterator[tuple[Figure, Any]]:
    """Draw a figure in the style of all reports.

    `with drawing() as (figure, axes): axes.plot(x, y)`

    Args:
        width: in inches.
        height: in inches.
        rows: rows of axes.
        columns: axes in a row.

    Yields:
        The figure, and its axes: one, or an array of them.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(cast(Any, _settings())):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns)


def png(figure: Figure) -> bytes:
    """The figure as a PNG on white, two pixels for each point of the screen."""
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context(cast(Any, _settings())):
        figure.savefig(out, format="png", dpi=192, facecolor="white", metadata={"Software": None})
    return out.getvalue()


def _settings() -> dict[str, Any]:
    """Settings of matplotlib: few lines, a light grid, our colours."""
    from cycler import cycler

    ink: dict[str, Any] = {f"{part}.color": INK for part in ("text", "xtick", "ytick", "grid")}
    ink |= {f"axes.{part}": INK for part in ("edgecolor", "labelcolor", "titlecolor")}
    return ink | {
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.labelsize": 9,
        "grid.alpha": 0.15,
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.4,
        "font.size": 9,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "svg.fonttype": "none",
        "svg.hashsalt": "statewise",
    }


def _svg(figure: Figure, prefix: str, label: str) -> str:
    """The figure as an element of the page: its ink is the page's, its ids begin with `prefix`."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context(cast(Any, _settings())):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", text).replace(INK, "currentColor")
    return re.sub(r"^<svg ", f'<svg role="img" aria-label="{label}" ', text)


def _is_numeric(cells: Sequence[Cell]) -> bool:
    return all(isinstance(cell, Real) or cell is None for cell in cells)


def _decimals(cells: Sequence[Cell]) -> int | None:
    """Decimals for three digits of the smallest number, if that takes at most three, or of the largest.

    None where plain decimals would be too many or too wide.
    """
    sizes = [abs(float(cell)) for cell in cells if isinstance(cell, Real) and not isinstance(cell, Integral)]
    sizes = [size for size in sizes if math.isfinite(size) and size != 0.0]
    if not sizes:
        return 0
    if max(sizes) < 1e-3 or max(sizes) >= 1e9:
        return None
    smallest, largest = (max(0, 2 - math.floor(math.log10(size))) for size in (min(sizes), max(sizes)))
    return min(smallest, max(3, largest))


def _text(cell: Cell, decimals: int | None) -> str:
    if cell is None or cell != cell:  # NaN
        return ABSENT
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Integral):
        return _grouped(f"{int(cell):,}")
    return _grouped(f"{cell:.2e}" if decimals is None else f"{cell:,.{decimals}f}")


def _grouped(number: str) -> str:
    """Thousands apart by a narrow space, and a true minus."""
    return number.replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1>{subtitle}</header>
<main>
{body}
</main>
<footer>statewise {version}</footer>
</body>
</html>
"""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fff; --ink: #1d2025; --soft: #5b616b; --line: #d9dce1; --wash: #f4f5f7;
  --notice: #b45309; --notice-wash: #fdf3e3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16181c; --ink: #e4e6ea; --soft: #a2a8b3; --line: #363a42; --wash: #20232a;
    --notice: #f0b35a; --notice-wash: #2c2416;
  }
}
* { box-sizing: border-box; }
body {
  max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 46rem; }
.subtitle, figcaption, caption, footer, dt { color: var(--soft); }
.notice {
  padding: .6rem .9rem; background: var(--notice-wash); border-left: .25rem solid var(--notice);
  border-radius: .2rem;
}
pre {
  padding: .7rem .9rem; overflow-x: auto; background: var(--wash); border-radius: .3rem; font-size: .88rem;
}
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; margin: .8rem 0; }
dd { margin: 0; }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; }
caption { caption-side: top; text-align: left; padding-bottom: .4rem; }
th, td { padding: .34rem .9rem; text-align: left; border-bottom: 1px solid var(--line); }
th { border-bottom: 2px solid var(--line); font-weight: 600; white-space: nowrap; }
th:first-child, td:first-child { padding-left: .3rem; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.strong td { font-weight: 650; background: var(--wash); }
figure { margin: 1.2rem 0; }
figure svg, figure img { display: block; width: 100%; height: auto; }
figure svg text { font-family: inherit !important; }
figure img { background: #fff; border-radius: .3rem; }
figcaption { font-size: .9rem; margin-top: .3rem; }
footer { margin-top: 3rem; font-size: .85rem; }
@media print {
  :root {
    color-scheme: light;
    --page: #fff; --ink: #000; --soft: #444; --line: #bbb; --wash: #f2f2f2;
    --notice: #000; --notice-wash: #fff;
  }
  @page { margin: 16mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2 { break-after: avoid; }
  figure, tr, pre, .notice, .table { break-inside: avoid; }
  thead { display: table-header-group; }
  .table { overflow: visible; }
  pre { white-space: pre-wrap; }
}
"""
