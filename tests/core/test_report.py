from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from statewise.core.report import PALETTE, Report, drawing, png

VOID = {"meta", "img"}


class Structure(HTMLParser):
    """The elements of a page, checked for balance, with their attributes and texts."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def of(self, tag):
        return [text for parent, text in self.texts if parent == tag]


@pytest.fixture
def report():
    return Report("A <title> & more", "below it")


def plotted(**settings):
    with drawing(**settings) as (figure, axes):
        axes.plot([0, 1, 2], [1, 4, 9], label="squares")
        axes.set_xlabel("step")
        axes.legend()
    return figure


def test_text_is_escaped_and_in_order(report):
    report.heading("Data")
    report.paragraph("1 < 2")
    report.notice("'x' & y")
    report.code("a  <b>\nc")
    page = Structure(report.render())
    assert page.of("title") == page.of("h1") == ["A <title> & more"]
    assert [text for _, text in page.texts[2:]][1:7] == [
        "below it",
        "Data",
        "1 < 2",
        "'x' & y",
        "a  <b>\nc",
        "statewise 0.1.0",
    ]


def test_numbers_are_aligned_and_have_the_same_decimals(report):
    report.table(
        ["model", "MASE", "pinball", "seconds", "windows", "coverage", "tiny"],
        [
            ["theta", 0.8123, 12.34, 18.2, 60, "81 %", 1.25e-7],
            ["naive", 1.0, 1234.56, 0.0012, 12345, "80 %", 0.0],
            ["drift", float("nan"), None, float("inf"), -3, "-", -3e-8],
        ],
        caption="Scores",
        right=["coverage"],
        strong=[0],
    )
    page = Structure(report.render())
    rows = [page.of("td")[i : i + 7] for i in (0, 7, 14)]
    thin, minus = "\N{NARROW NO-BREAK SPACE}", "\N{MINUS SIGN}"
    assert rows[0] == ["theta", "0.812", "12.3", "18.200", "60", "81 %", f"1.25e{minus}07"]
    assert rows[1] == ["naive", "1.000", f"1{thin}234.6", "0.001", f"12{thin}345", "80 %", "0.00e+00"]
    assert rows[2] == [
        "drift",
        "\N{EN DASH}",
        "\N{EN DASH}",
        "inf",
        f"{minus}3",
        "-",
        f"{minus}3.00e{minus}08",
    ]
    kinds = [attributes.get("class") for tag, attributes in page.elements if tag == "th"]
    assert kinds == [None, *["number"] * 6]
    assert [attributes.get("class") for tag, attributes in page.elements if tag == "tr"] == [
        None,
        "strong",
        None,
        None,
    ]
    assert page.of("caption") == ["Scores"]


def test_a_row_of_another_length_is_refused(report):
    with pytest.raises(ValueError, match="every row needs 2 cells"):
        report.table(["a", "b"], [[1, 2], [1]])


def test_numbers_of_numpy_are_numbers(report):
    report.table(["a", "b"], [[np.float32(0.5), np.int64(12345)]])
    assert Structure(report.render()).of("td") == ["0.500", "12\N{NARROW NO-BREAK SPACE}345"]


def test_facts_show_every_kind_of_value(report):
    report.facts({"rows": 1000, "seconds": 1.5, "finished": True, "best": None, "name": "x<y"})
    thin = "\N{NARROW NO-BREAK SPACE}"
    assert Structure(report.render()).of("dd") == [f"1{thin}000", "1.50", "yes", "\N{EN DASH}", "x<y"]


def test_figures_are_inside_the_page_and_do_not_share_ids(report):
    report.figure(plotted(), caption='the "first"')
    report.figure(plotted(), caption="the second")
    report.figure(plotted(height=2.0), caption="the third", kind="png")
    text = report.render()
    page = Structure(text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 10
    used = re.findall(r'(?:url\(|href=")#([^")]+)', text)
    assert used
    assert set(used) <= set(ids)
    labels = [attributes["aria-label"] for tag, attributes in page.elements if tag == "svg"]
    assert labels == ['the "first"', "the second"]
    (image,) = [attributes for tag, attributes in page.elements if tag == "img"]
    assert image["alt"] == "the third"
    assert image["src"].startswith("data:image/png;base64,")
    assert page.of("figcaption") == ['the "first"', "the second", "the third"]


def test_figures_take_the_ink_of_the_page_and_the_shared_colours(report):
    report.figure(plotted(), caption="c")
    text = report.render()
    assert "stroke: currentColor" in text
    assert PALETTE[0].lower() in text
    assert "#000000" not in text
    assert "step" in Structure(text).of("text")  # text, not outlines: it can be searched and read aloud


def test_nothing_is_loaded_and_nothing_runs(report):
    report.figure(plotted(), caption="c")
    report.code("<script>alert(1)</script>")
    page = Structure(report.render())
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "metadata"}
    sources = [
        attributes[key] for _, attributes in page.elements for key in ("src", "href") if key in attributes
    ]
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "@import" not in report.render()


def test_the_same_report_is_the_same_file(report):
    def build():
        page = Report("t")
        page.figure(plotted(), caption="c")
        return page.render()

    assert build() == build()


def test_the_style_of_other_figures_is_left_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    data = png(plotted())
    assert data.startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_by_the_first_figure_only():
    program = (
        "import sys\nfrom statewise.core.report import Report\n"
        "report = Report('t')\nreport.table(['a'], [[1.0]])\nreport.render()\n"
        "assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
