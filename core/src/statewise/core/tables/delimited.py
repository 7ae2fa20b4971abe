"""Delimited text as a table of strings: which delimiter, which row is the header, what is above and below
the data.

Every row keeps the number of its line in the file, so that whatever is found wrong later can be pointed at.
"""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import polars as pl

from statewise.core.errors import DataError
from statewise.core.tables.records import Records, scan, split
from statewise.core.tables.source import Content, to_utf8
from statewise.core.tables.table import Note, Table
from statewise.core.tables.words import ordinal, shown

__all__ = ["parse_text"]

_CANDIDATES = ("\t", ";", "|", ",")
_NAMES = {"\t": "tab", ";": "semicolon", "|": "vertical bar", ",": "comma", " ": "blank"}
_FOOTER = re.compile(
    r"(grand |sub)?-?(totals?|sums?|averages?|means?|gesamt|summe|somme|totale|sources?|notes?)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+(]?[$€£¥]?\s?[\d.,][\d.,'\u00a0\u202f ]*(e[-+]?\d+)?\s?[%€$£¥)]?", re.IGNORECASE)
_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([T ,].*)?|\d{4}[-/ .]?[qwm]\d{1,2}.*|[a-z]{3,9}[-/., ]+\d{1,4}.*"
    r"|\d{1,2}[-/. ]?[a-z]{3,9}[-/., ]+\d{2,4}.*|\d{1,2}:\d{2}.*",
    re.IGNORECASE,
)
_BLANK = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?", "#n/a"})


def parse_text(
    content: Content,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
) -> Table:
    """The table in a delimited text, all columns strings.

    Args:
        content: the bytes.
        encoding: of the text; None finds it.
        delimiter: one character; None finds it, a blank means any run of blanks.
        header: whether the first row names the columns; None finds it.

    Raises:
        DataError: when it is no text, a quotation mark is left open, rows differ in length, two columns
            share a name, or there are no rows.
    """
    data, found = to_utf8(content, encoding)
    delimiter = delimiter or _sniff_delimiter(data)
    words = _named(delimiter)
    if delimiter == " ":
        data, delimiter = re.sub(rb"[ \t]+", b"\t", re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", data)), "\t"
    # a blank before a quotation mark would hide the mark
    data = data.replace(f'{delimiter} "'.encode(), f'{delimiter}"'.encode())
    records = scan(data, delimiter)
    if records.open_quote:
        raise _unclosed(content.name, data)
    table = _TextReader(content.name, data, delimiter, records).read(header)
    notes = [Note("file", f"the text is {found}, not UTF-8 (--encoding)")] if found != "utf-8" else []
    if words != "comma":
        notes.append(Note("file", f"the fields are separated by a {words} (--delimiter)"))
    return replace(table, notes=(*notes, *table.notes))


class _TextReader:
    """One text on its way to a table: each step narrows `records` down to those that are data."""

    def __init__(self, name: str, data: bytes, delimiter: str, records: Records) -> None:
        self.name, self.data, self.delimiter = name, data, delimiter
        self.notes: list[Note] = []
        self.records = self._without_blanks_and_comments(records)

    def read(self, header: bool | None) -> Table:
        """Settle the header, cut what is above and below the data, and parse."""
        first, width = self._first_record(header)
        self.records = self.records.take(slice(first, None))
        cells = self._cells(0)
        if header is None:
            header = _is_header(cells, self._sample(1))
            if not header:
                self.notes.append(Note("file", "there is no header: the columns are numbered (--header)"))
        names = self._names(cells if header else [""] * width, width)
        if header:
            self._require_rows(names)
            self.records = self.records.take(slice(1, None))
        self._cut_footer(width)
        wrong = np.flatnonzero(self.records.fields != width)
        if len(wrong):
            raise self._ragged(int(wrong[0]), width)
        return self._table(names)

    def _cells(self, index: int) -> list[str]:
        text = self.data[self.records.starts[index] : self.records.ends[index]].decode()
        return split(text, self.delimiter)

    def _sample(self, first: int) -> list[list[str]]:
        return [self._cells(i) for i in range(first, min(len(self.records), first + 40))]

    def _without_blanks_and_comments(self, records: Records) -> Records:
        array = np.frombuffer(self.data, dtype=np.uint8)
        length = records.ends - records.starts
        comment = np.zeros(len(records), dtype=bool)
        comment[length > 0] = array[records.starts[length > 0]] == ord("#")
        if comment.any():
            self.notes.append(Note("file", f"lines that begin with #: {comment.sum():,}, left out"))
        if (records.fields[~comment] == 1).all():
            # with a single column an empty line between others is a missing value
            full = np.flatnonzero((length > 0) & ~comment)
            inner = np.zeros(len(records), dtype=bool)
            inner[full[0] if len(full) else 0 : full[-1] + 1 if len(full) else 0] = True
            kept = records.take(inner & ~comment)
        else:
            kept = records.take((length != records.fields - 1) & ~comment)
        if not len(kept):
            raise DataError(
                "holds no rows",
                where=self.name,
                expected="a header and rows of data",
                fix="check that the export that wrote it has finished",
            )
        return kept

    def _first_record(self, header: bool | None) -> tuple[int, int]:
        """Index of the header or first row, and the number of fields: what stands above it is a title."""
        fields = self.records.fields[:200]
        sizes, counts = np.unique(fields, return_counts=True)
        width = int(sizes[np.argmax(counts)])
        first = int(np.argmax(fields == width))
        if first and fields[first - 1] == width + 1 and not self._cells(first - 1)[-1]:
            first -= 1  # the header ends with a delimiter, the rows do not
        if first == 1 and fields[0] == width - 1 and not any(cells[-1] for cells in self._sample(1)):
            return 0, width  # the rows end with a delimiter, the header does not
        if first and not (header is not False and _is_header(self._cells(first), self._sample(first + 1))):
            raise self._ragged(0, width)
        if first:
            self.notes.append(Note("file", f"lines above the header: {first}, left out"))
        return first, width

    def _names(self, cells: list[str], width: int) -> list[str]:
        """Names of the columns; blank ones are numbered."""
        cells = (cells + [""] * (width - len(cells)))[:width]
        names = [" ".join(cell.split()) or f"column_{i + 1}" for i, cell in enumerate(cells)]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise DataError(
                    f"two columns are called '{shown(name)}'",
                    where=f"{self.name}, row {int(self.records.lines[0])}",
                    seen=f"the {ordinal(names.index(name) + 1)} and the {ordinal(i + 1)} column",
                    expected="a name of its own for each column",
                    fix="rename one of them",
                )
        return names

    def _require_rows(self, names: list[str]) -> None:
        if len(self.records) == 1:
            raise DataError(
                "holds a header and no rows of data",
                where=f"{self.name}, row {int(self.records.lines[0])}",
                seen=", ".join(shown(name) for name in names[:6]),
                expected="rows of data below it",
                fix="check that the export that wrote it has finished; if this is data, give --no-header",
            )

    def _cut_footer(self, width: int) -> None:
        """Drop rows at the end that are a total, an average or a remark."""
        count = 0
        while count < min(6, len(self.records) - 1):
            cells = self._cells(len(self.records) - 1 - count)
            label = next((cell for cell in cells if cell), "")
            remark = len(cells) == 1 < width and _kind(label) == "text" and " " in label
            dated = any(_kind(cell) == "date" for cell in cells)
            if dated or not (_FOOTER.match(label) or remark):
                break
            count += 1
        if 0 < count < 6:  # more are a series that happens to be called so
            cut = len(self.records) - count
            label = next(cell for cell in self._cells(cut) if cell)
            line = int(self.records.lines[cut])
            self.notes.append(Note("file", f"the footer from row {line} on ('{shown(label)}') was left out"))
            self.records = self.records.take(slice(cut))

    def _ragged(self, index: int, width: int) -> DataError:
        fields = int(self.records.fields[index])
        if fields < width and index > 0:
            fix = "complete the row, or remove it"
        else:
            fix = "put text that holds the delimiter in quotation marks, or name another --delimiter"
        if self.delimiter == ",":
            fix += "; if the comma is the decimal sign, separate the fields by semicolons"
        return DataError(
            f"has {fields} fields, where the other rows have {width}",
            where=f"{self.name}, row {int(self.records.lines[index])}",
            seen=shown(self.delimiter.join(self._cells(index))),
            expected=f"{width} fields, separated by a {_named(self.delimiter)}",
            fix=fix,
        )

    def _table(self, names: list[str]) -> Table:
        data = b"\n".join(self.data[start:end] for start, end in self.records.runs()) + b"\n"
        try:
            frame = pl.read_csv(
                io.BytesIO(data),
                has_header=False,
                separator=self.delimiter,
                quote_char='"' if b'"' in data else None,
                infer_schema=False,
            )
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"cannot be parsed ({shown(error)})",
                where=self.name,
                fix="check the quotation marks: one inside a quoted field is written twice",
            ) from None
        frame.columns = names
        unnamed = [name for i, name in enumerate(names) if name == f"column_{i + 1}"]
        hollow = [name for name in unnamed if frame[name].null_count() == len(frame)]
        lines = self.records.lines
        return Table(
            frame=frame.drop(hollow) if len(hollow) < len(names) else frame,
            lines=lines,
            files=np.zeros(len(lines), dtype=np.int64),
            sources=(self.name,),
            delimiter=self.delimiter,
            notes=tuple(self.notes),
        )


def _sniff_delimiter(data: bytes) -> str:
    """The candidate that cuts the first records into equal numbers of fields, and into more than one."""
    sample = data[: 1 << 16]
    if len(sample) < len(data) and b"\n" in sample:
        sample = sample[: sample.rindex(b"\n") + 1]
    best, best_score = ",", 0.0
    for delimiter in _CANDIDATES:
        fields = scan(sample, delimiter).fields
        sizes, counts = np.unique(fields[fields > 1], return_counts=True)
        # a comma may also stand in decimal numbers and in text: on equal terms the others win
        score = float(counts.max() / len(fields)) if len(sizes) else 0.0
        if score > best_score:
            best, best_score = delimiter, score
    return best if best_score or not _cut_by_blanks(sample) else " "


def _cut_by_blanks(sample: bytes) -> bool:
    """Whether runs of blanks cut the lines into the same number of fields, among them numbers."""
    lines = [line.split() for line in sample.decode(errors="replace").splitlines() if line.strip()]
    width = len(lines[-1]) if len(lines) > 1 else 1
    numbers = any(_kind(cell) == "number" for cell in lines[-1]) if width > 1 else False
    return numbers and all(len(line) == width for line in lines)


def _is_header(first: list[str], below: list[list[str]]) -> bool:
    """Whether a row names the columns: it holds other things than the rows below it."""
    values = False
    if len(first) > 1 and not first[0] and below and all(row[0] for row in below):
        return True  # the index of a data frame has no name
    for column, cell in enumerate(first):
        kinds = {_kind(row[column]) for row in below if column < len(row)} - {"blank"}
        if len(kinds) == 1 and kinds != {"text"}:
            values = True
            if _kind(cell) not in ("blank", *kinds):
                return True
    if values:
        return _counts_up(first)
    return not all(_kind(cell) in ("number", "date") for cell in first)


def _counts_up(cells: list[str]) -> bool:
    """Whether cells are a row of years, as above a table with one column per year."""
    years = [int(cell) for cell in cells if re.fullmatch(r"1[89]\d\d|20\d\d", cell)]
    return len(years) >= 3 and len(years) >= len(cells) - 3 and set(np.diff(years)) == {1}


def _kind(cell: str) -> str:
    if cell.lower() in _BLANK:
        return "blank"
    if len(cell) > 60:
        return "text"
    if _NUMBER.fullmatch(cell) and any(c.isdigit() for c in cell):
        return "date" if cell.count(".") > 1 and _DATE.fullmatch(cell) else "number"
    return "date" if _DATE.fullmatch(cell) else "text"


def _named(delimiter: str) -> str:
    return _NAMES.get(delimiter, f"'{delimiter}'")


def _unclosed(name: str, data: bytes) -> DataError:
    """The error for an odd number of quotation marks, placed at the first line that holds an odd number."""
    quotes = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord('"'))
    feeds = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    lines, counts = np.unique(np.searchsorted(feeds, quotes), return_counts=True)
    line = int(lines[counts % 2 == 1][0])
    text = data[0 if line == 0 else feeds[line - 1] + 1 :].split(b"\n", 1)[0].decode()
    return DataError(
        "a quotation mark is opened and never closed",
        where=f"{name}, row {line + 1}",
        seen=shown(text),
        expected='text in a pair of quotation marks; one inside is written twice: ""',
        fix="close it, or delete it",
    )
