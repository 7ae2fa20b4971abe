"""Which column is the user, which the item, which the time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from statewise.core.errors import DataError
from statewise.core.tables.table import Note, Table
from statewise.core.tables.words import named
from statewise.recsys.options import ReadOptions

__all__ = ["Columns", "find_columns", "item_column"]

_USER = (
    *("user", "userid", "uid", "customer", "customerid", "visitor", "visitorid", "reviewerid", "reviewer"),
    *("account", "accountid", "member", "memberid", "client", "clientid", "person", "session", "sessionid"),
    *("listener", "listenerid", "viewer", "viewerid", "reader", "readerid", "buyer", "buyerid"),
)
_ITEM = (
    *("item", "itemid", "iid", "product", "productid", "movie", "movieid", "asin", "sku", "article"),
    *("articleid", "track", "trackid", "song", "songid", "artist", "artistid", "book", "bookid", "isbn"),
    *("video", "videoid", "page", "url", "business", "businessid", "venue", "venueid", "game", "gameid"),
    *("film", "filmid", "listing", "listingid", "recipe", "recipeid", "course", "courseid", "poi", "poiid"),
)
_TIME = (
    *("timestamp", "time", "ts", "datetime", "date", "eventtime", "unixreviewtime", "reviewtime"),
    *("createdat", "created", "ratedat", "visited", "pos", "position", "order", "step", "index"),
)
_DATED = r"^\d{4}-\d{2}-\d{2}([T ]|$)"
_WHEN = re.compile(r"(^|[_\W])(at|ts|ms|us|when|day)$|(time|date|timestamp|At)$")
_EPOCH = 2 * 10**8
"""Seconds since 1970 from which a number in a column named like a time is taken for one (1976)."""
_UNNAMED = re.compile(r"column_\d+")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns that are used."""

    user: str
    item: str
    time: str | None
    notes: tuple[Note, ...]


def find_columns(table: Table, options: ReadOptions) -> Columns:
    """Settle the columns: as named by the user, else by their names, else (no header) by their places.

    Raises:
        DataError: a column is not there, or cannot be found.
    """
    asked = {"user": options.user, "item": options.item}
    chosen: dict[str, str | None] = {
        role: None if name is None else table.require(name, f"--{role}") for role, name in asked.items()
    }
    want_time = options.time != "none"
    chosen["time"] = table.require(options.time, "--time") if want_time and options.time is not None else None
    names = table.frame.columns
    if all(_UNNAMED.fullmatch(name) for name in names):
        return _by_place(table, chosen, want_time)
    for role, words in (("user", _USER), ("item", _ITEM), ("time", _TIME)):
        if chosen[role] is None and (role != "time" or want_time):
            chosen[role] = _by_name(names, words, chosen)
    several: list[str] = []
    if want_time and chosen["time"] is None:
        several = [name for name in names if name not in chosen.values() and _like_times(table, name)]
        chosen["time"] = several[0] if len(several) == 1 else None
    for role in ("user", "item"):
        if chosen[role] is None:
            raise DataError(
                f"no column is recognised as the {role}",
                where=table.name,
                seen=f"columns {named(names)}",
                expected=f"a column called '{role}' or '{role}_id'",
                fix=f"name it: --{role} COLUMN; if the first row is data, give --no-header",
            )
    return _settled(chosen, want_time, several)


def _like_times(table: Table, name: str) -> bool:
    """Whether a column holds dates, or is named like a time and holds numbers that are some since 1970."""
    column = table.frame[name].drop_nulls().head(200)
    if column.dtype.is_temporal():
        return True
    if not len(column):
        return False
    if column.dtype == pl.String:
        if bool(column.str.strip_chars().str.contains(_DATED).all()):
            return True
        column = column.cast(pl.Int64, strict=False)
    called = _WHEN.search(name.partition(":")[0]) is not None
    return called and column.dtype.is_integer() and not column.has_nulls() and bool((column > _EPOCH).all())


def _by_name(names: list[str], words: tuple[str, ...], chosen: dict[str, str | None]) -> str | None:
    plain = {_plain(name): name for name in reversed(names) if name not in chosen.values()}
    return next((plain[word] for word in words if word in plain), None)


def _plain(name: str) -> str:
    """`user_id:token` (RecBole's typed headers) and `User ID` are `userid`."""
    return re.sub(r"[^a-z0-9]", "", name.lower().partition(":")[0])


def _by_place(table: Table, chosen: dict[str, str | None], want_time: bool) -> Columns:
    """user, item[, rating], time: what a file without a header holds."""
    names = table.frame.columns
    if len(names) < 2:
        raise DataError(
            "has a single column",
            where=table.name,
            seen=f"first row {named([str(cell) for cell in table.frame.row(0)])}",
            expected="user, item and, if known, time",
            fix="name the --delimiter, or export the users beside the items",
        )
    chosen["user"] = chosen["user"] or names[0]
    chosen["item"] = chosen["item"] or names[1]
    if want_time and chosen["time"] is None and len(names) > 2:
        chosen["time"] = names[min(3, len(names) - 1)]
    return _settled(chosen, want_time)


def _settled(chosen: dict[str, str | None], want_time: bool, several: Sequence[str] = ()) -> Columns:
    user, item, time = chosen["user"], chosen["item"], chosen["time"]
    assert user is not None  # settled above, or refused
    assert item is not None
    if time is None and len(several) > 1:
        order = f"{named(list(several))} may be times: name one with --time; until then the rows are in order"
    elif time is None and want_time:
        order = "no column tells the time: the order of the rows is the order of the events (--time)"
    elif time is None:
        order = "the order of the rows is the order of the events, as asked (--time none)"
    else:
        order = f"time '{time}' (--time)"
    text = f"user '{user}' (--user), item '{item}' (--item), {order}"
    return Columns(user=user, item=item, time=time, notes=(Note("columns", text),))


def item_column(table: Table, name: str | None = None) -> str:
    """The column of ids in a table of items.

    Raises:
        DataError: there is none.
    """
    if name is not None and name in table.frame.columns:
        return name
    names = table.frame.columns
    found = names[0] if all(_UNNAMED.fullmatch(one) for one in names) else _by_name(names, _ITEM, {})
    if found is None:
        raise DataError(
            "no column is recognised as the item",
            where=table.name,
            seen=f"columns {named(names)}",
            expected="a column called 'item' or 'item_id'",
            fix="rename the column of ids",
        )
    return found
