"""Where the records of a delimited text stand, found without a Python loop over rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Records", "scan", "split"]

_QUOTE, _FEED, _CHUNK = ord('"'), ord("\n"), 1 << 24


@dataclass(frozen=True, kw_only=True)
class Records:
    """The records of a text, r of them; a line feed or delimiter inside quotation marks does not count."""

    starts: np.ndarray
    """Offset of the first byte of each record, (r,)."""
    ends: np.ndarray
    """Offset of the line feed that ends it, or of the end of the text, (r,)."""
    fields: np.ndarray
    """Number of its fields, (r,)."""
    lines: np.ndarray
    """Number of the line on which it begins, counted from 1, (r,)."""
    open_quote: bool = False
    """Whether the text ends inside quotation marks."""

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, which: np.ndarray | slice) -> Records:
        """Some of the records: a boolean mask or a slice."""
        return Records(
            starts=self.starts[which],
            ends=self.ends[which],
            fields=self.fields[which],
            lines=self.lines[which],
        )

    def runs(self) -> list[tuple[int, int]]:
        """First and last offset of each stretch of records that follow each other in the text."""
        breaks = np.flatnonzero(self.starts[1:] != self.ends[:-1] + 1)
        firsts = np.concatenate([[0], breaks + 1])
        lasts = np.concatenate([breaks, [len(self) - 1]])
        return [(int(self.starts[i]), int(self.ends[j])) for i, j in zip(firsts, lasts, strict=True)]


def scan(data: bytes, delimiter: str) -> Records:
    """Find the records of a text whose lines end with a line feed, in pieces of 16 MB."""
    array = np.frombuffer(data, dtype=np.uint8)
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    inside, delimiters, feeds = False, 0, 0
    for low in range(0, len(array), _CHUNK):
        piece = array[low : low + _CHUNK]
        is_feed, is_delimiter, is_quote = piece == _FEED, piece == ord(delimiter), piece == _QUOTE
        is_end = is_feed
        if inside or is_quote.any():
            # uint8 wraps around, which keeps the parity of the count
            outside = (np.cumsum(is_quote, dtype=np.uint8) + np.uint8(inside)) % 2 == 0
            inside = not outside[-1]
            is_end, is_delimiter = is_feed & outside, is_delimiter & outside
        at = np.flatnonzero(is_end)
        delimiters_so_far, feeds_so_far = np.cumsum(is_delimiter), np.cumsum(is_feed)
        pieces.append((at + low, delimiters_so_far[at] + delimiters, feeds_so_far[at] + feeds))
        delimiters, feeds = delimiters + int(delimiters_so_far[-1]), feeds + int(feeds_so_far[-1])
    if len(array) and (inside or array[-1] != _FEED):
        pieces.append((np.array([len(array)]), np.array([delimiters]), np.array([feeds + 1])))
    zero = np.zeros(1, dtype=np.int64)
    ends, counts, lines = (np.concatenate([zero, *column]) for column in zip(*pieces, strict=True))
    return Records(
        starts=np.concatenate([zero, ends[1:-1] + 1]),
        ends=ends[1:],
        fields=np.diff(counts) + 1,
        lines=lines[:-1] + 1,
        open_quote=inside,
    )


def split(record: str, delimiter: str) -> list[str]:
    """The fields of one record, without the blanks and quotation marks around them."""
    if '"' not in record:
        return [field.strip() for field in record.split(delimiter)]
    fields: list[str] = []
    parts: list[str] = []
    for part in record.split(delimiter):
        parts.append(part)
        if sum(piece.count('"') for piece in parts) % 2 == 0:
            field = delimiter.join(parts).strip()
            quoted = len(field) > 1 and field[0] == field[-1] == '"'
            fields.append(field[1:-1].replace('""', '"').strip() if quoted else field)
            parts = []
    return fields
