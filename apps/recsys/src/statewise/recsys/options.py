"""What a user may say about an event log; everything left out is found in the file and reported.

Kept apart from the reader so that a command line can show these options without importing a data library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from statewise.core.config import require

__all__ = ["ReadOptions"]

_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "bar": "|"}


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read an event log, where it should not be found out."""

    user: str | None = None
    """Column of the users (or sessions)."""
    item: str | None = None
    """Column of the items."""
    time: str | None = None
    """Column of the times; `none`: the order of the rows is the order of the events."""
    min_user: int = 1
    """Fewest events of a user (k-core, repeated until it holds for users and items)."""
    min_item: int = 1
    """Fewest events of an item."""
    duplicates: Literal["drop", "keep"] = "drop"
    """Rows of the same user, item and time: `drop` all but the first, or `keep` them."""
    blanks: Literal["refuse", "skip"] = "refuse"
    """Rows without a user or an item: `refuse` the file, or `skip` them."""
    delimiter: str | None = None
    """What separates the fields: `,`, `;`, `tab`, `|` or `::`."""
    encoding: str | None = None
    """Encoding of the text, such as `utf-8`, `utf-16` or `latin-1`."""
    header: bool | None = None
    """Whether the first row holds the names of the columns."""

    def __post_init__(self) -> None:
        for name in ("min_user", "min_item"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        if self.delimiter is not None:
            sign = _DELIMITERS.get(self.delimiter.lower(), self.delimiter)
            one = sign == "::" or (len(sign) == 1 and not sign.isalnum() and sign not in '"\r\n.-_')
            require(one, "delimiter", self.delimiter, "one of , ; tab | ::")
            object.__setattr__(self, "delimiter", sign)
