"""Broken inputs: what a person may hand to `recsys`, and what the message must name.

Each case is a name, a function that writes files and returns the arguments after `recsys`, and pieces of text
that the error must hold. `ODD` lists inputs that are read, with a note that says what was made of them.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

Build = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Broken:
    name: str
    build: Build
    expected: tuple[str, ...]


@dataclass(frozen=True)
class Odd:
    name: str
    build: Build
    said: tuple[str, ...]
    """Pieces of the notes."""
    first: tuple[str, ...] = ()
    """Items of the first user, oldest first."""


def events(header: str = "user,item,timestamp", form: str = "{u},{i},{t}") -> list[str]:
    """Six users with five events each."""
    return [
        header,
        *(
            form.format(u=f"u{u}", i=f"i{(u + n) % 7}", t=1_700_000_000 + n)
            for u in range(6)
            for n in range(5)
        ),
    ]


def text(rows: list[str] | str, *flags: str, name: str = "events.csv") -> Build:
    def build(folder: Path) -> list[str]:
        content = rows if isinstance(rows, str) else "\n".join(rows) + "\n"
        (folder / name).write_text(content, encoding="utf-8", newline="")
        return [str(folder / name), *flags]

    return build


def raw(data: bytes, *flags: str, name: str = "events.csv") -> Build:
    def build(folder: Path) -> list[str]:
        (folder / name).write_bytes(data)
        return [str(folder / name), *flags]

    return build


def parquet(columns: dict[str, list], *flags: str) -> Build:
    def build(folder: Path) -> list[str]:
        pl.DataFrame(columns, strict=False).write_parquet(folder / "events.parquet")
        return [str(folder / "events.parquet"), *flags]

    return build


def misspelt(folder: Path) -> list[str]:
    (folder / "events.csv").write_text("\n".join(events()), encoding="utf-8")
    return [str(folder / "event.csv")]


def features(rows: list[str], *flags: str) -> Build:
    def build(folder: Path) -> list[str]:
        (folder / "events.csv").write_text("\n".join(events()), encoding="utf-8")
        (folder / "items.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        return [str(folder / "events.csv"), "--features", str(folder / "items.csv"), *flags]

    return build


def replaced(number: int, row: str) -> list[str]:
    rows = events()
    rows[number - 1] = row
    return rows


_U, _I = [f"u{n % 4}" for n in range(20)], [f"i{n % 5}" for n in range(20)]

BROKEN = (
    # the file as such
    Broken("empty-file", raw(b""), ("events.csv: is empty", "fix: check that the export")),
    Broken("missing-file", misspelt, ("event.csv: there is no such file", "did you mean 'events.csv'?")),
    Broken("directory", lambda folder: [str(folder)], ("is a directory", "a file")),
    Broken(
        "cut-gzip",
        raw(gzip.compress(b"a,b\n" * 99)[:-9], name="e.csv.gz"),
        ("cut-off gzip", "copy or download"),
    ),
    Broken(
        "text-as-parquet", raw(b"user,item\na,b\n", name="e.parquet"), ("damaged parquet", "write or copy it")
    ),
    Broken("header-only", text(["user,item,timestamp"]), ("a header and no rows", "--no-header")),
    Broken("ragged-row", text(replaced(5, "u0,i4")), ("row 5", "has 2 fields", "complete the row")),
    Broken(
        "comma-in-an-id", text(replaced(5, "u0,a,b,1700000003")), ("row 5", "4 fields", "quotation marks")
    ),
    Broken("open-quote", text(replaced(5, 'u0,"i4,1700000003')), ("row 5", "never closed", "close it")),
    Broken("pickle", raw(b"\x80\x04\x95abc", name="e.pkl"), ("pickles are never opened",)),
    Broken("nothing-named", lambda folder: [], ("no data file is named", "recsys fit events.csv")),
    # columns
    Broken("no-user-column", text(events("who,item,timestamp")), ("recognised as the user", "--user COLUMN")),
    Broken(
        "no-item-column", text(events("user,what,timestamp")), ("recognised as the item", "--item COLUMN")
    ),
    Broken(
        "unknown-column",
        text(events(), "--item", "itm"),
        ("--item: there is no column 'itm'", "did you mean 'item'?"),
    ),
    Broken("one-column", text("a\nb\nc\n", "--no-header"), ("has a single column", "--delimiter")),
    Broken(
        "same-names", text(events("user,user,timestamp")), ("two columns are called 'user'", "rename one")
    ),
    # cells
    Broken(
        "blank-user", text(replaced(7, ",i2,1700000000")), ("row 7, column 'user': is empty", "--blanks skip")
    ),
    Broken(
        "blank-item",
        text(replaced(8, "u1, ,1700000000")),
        ("row 8, column 'item': is empty", "--blanks skip"),
    ),
    Broken(
        "word-for-a-time",
        text(replaced(9, "u1,i2,later")),
        ("row 9, column 'timestamp': is no time", "--time none"),
    ),
    Broken(
        "date-that-is-none", text(replaced(9, "u1,i2,2024-02-31")), ("row 9", "is no time", "--time none")
    ),
    Broken(
        "infinite-time",
        parquet({"user": _U, "item": _I, "timestamp": [1.5e9] * 19 + [float("inf")]}),
        ("row 20, column 'timestamp': is no finite number",),
    ),
    Broken(
        "fractional-id",
        parquet({"user": _U, "item": [n + 0.5 for n in range(20)]}),
        ("row 1, column 'item': an id is no whole number", "--user or --item"),
    ),
    Broken(
        "list-for-a-time",
        parquet({"user": _U, "item": _I, "timestamp": [True] * 20}),
        ("column 'timestamp': holds Boolean", "--time none"),
    ),
    # too little
    Broken(
        "one-event-users",
        text(["user,item", "a,x", "b,y", "c,z"]),
        ("too small for this split", "at least 3 events"),
    ),
    Broken("two-event-users", text(["user,item", *["a,x", "a,y", "b,z", "b,x"]]), ("at least 3 events",)),
    Broken("empty-core", text(events(), "--min-item", "99"), ("no event is left", "--min-item 99", "lower")),
    # settings
    Broken(
        "unknown-model", text(events(), "--model", "sasrek"), ("called 'sasrek'", "did you mean 'sasrec'?")
    ),
    Broken("unknown-loss", text(events(), "--loss", "cee"), ("loss called 'cee'", "did you mean 'ce'?")),
    Broken("unknown-split", text(events(), "--split", "random"), ("--split", "leave-one-out")),
    Broken(
        "temporal-without-times",
        text(events(), "--split", "temporal", "--time", "none"),
        ("needs times", "--split leave-one-out"),
    ),
    Broken(
        "unknown-period", text(events(), "--split", "next-period", "--period", "year"), ("--period", "month")
    ),
    Broken(
        "blend-of-counting",
        text(events(), "--model", "markov", "--blend", "ease"),
        ("markov", "leave --blend out"),
    ),
    Broken("unknown-blend", text(events(), "--blend", "lru"), ("--blend", "popularity")),
    Broken("core-below-one", text(events(), "--min-user", "0"), ("min_user", "1 or more")),
    Broken("long-delimiter", text(events(), "--delimiter", "ab"), ("delimiter", "one of")),
    Broken("text-items-without-features", text(events(), "--items", "text"), ("--features items.csv",)),
    Broken("features-of-ids-alone", features(["item", "i1"], "--items", "text"), ("ids and nothing else",)),
    Broken(
        "features-twice",
        features(["item,kind", "i1,a", "i1,b"], "--items", "features"),
        ("row 3, column 'item'", "'i1' has two rows", "keep one"),
    ),
)

_QUOTED = [
    "user,item,timestamp",
    *(f'"Doe, {u}","say ""{n}""",{1_700_000_000 + n}' for u in range(5) for n in range(4)),
]

ODD = (
    Odd("quoted-commas", text(_QUOTED), ("5 users, 4 items",), ('say "0"', 'say "1"', 'say "2"', 'say "3"')),
    Odd(
        "unicode-ids",
        text(["user,item,time", *(f"ünï{u},東{n},{n + 1}" for u in range(4) for n in range(4))]),
        ("4 users, 4 items",),
        ("東0", "東1", "東2", "東3"),
    ),
    Odd(
        "leading-zeros-are-not-numbers",
        text(
            ["user,item,time", *(f"0{u},{n},{t}" for u in range(4) for t, n in enumerate(["007", "07", "7"]))]
        ),
        ("4 users, 3 items",),
        ("007", "07", "7"),
    ),
    Odd(
        "ids-beyond-32-bits",
        text(["user,item,time", *(f"{2**63 + u},{2**40 + n},{n}" for u in range(4) for n in range(3))]),
        ("4 users, 3 items",),
        (str(2**40), str(2**40 + 1), str(2**40 + 2)),
    ),
    Odd(
        "no-times",
        text(["user,item", *(f"u{u},i{n}" for n in range(4) for u in range(3))]),
        ("the order of the rows is the order of the events",),
        ("i0", "i1", "i2", "i3"),
    ),
    Odd(
        "a-column-of-dates",
        text(
            [
                "buyer,sku,ordered_at,price",
                *(
                    f"b{u},s{n},2024-03-1{9 - n}T23:30:00+0{u}:00,1{n}.5"
                    for n in reversed(range(4))
                    for u in range(3)
                ),
            ]
        ),
        ("time 'ordered_at' (--time)", "3 users, 4 items"),
        ("s3", "s2", "s1", "s0"),
    ),
    Odd(
        "milliseconds-by-their-name",
        parquet(
            {
                "listener": ["a", "b"] * 4,
                "track": [f"t{n // 2}" for n in range(8)],
                "played_ms": [1_700_000_000_000 - n for n in range(8)],
                "length_ms": [180_000] * 8,
            }
        ),
        ("time 'played_ms' (--time)", "milliseconds since 1970"),
        ("t3", "t2", "t1", "t0"),
    ),
    Odd(
        "two-columns-of-dates",
        text(
            [
                "user,item,born,bought",
                *(f"u{u},i{n},1980-01-01,2024-01-0{9 - n}" for n in range(4) for u in range(3)),
            ]
        ),
        ("'born', 'bought' may be times", "name one with --time"),
        ("i0", "i1", "i2", "i3"),
    ),
    Odd(
        "no-header",
        text([f"u{u}\ti{n}\t5\t{881_250_949 + n}" for n in reversed(range(4)) for u in range(3)]),
        ("the columns are numbered", "seconds since 1970"),
        ("i0", "i1", "i2", "i3"),
    ),
    Odd(
        "movielens-colons",
        text(
            [f"{u}::{100 + n}::5::{978_300_760 + n}" for u in range(3) for n in range(3)], name="ratings.dat"
        ),
        ("separated by ::",),
        ("100", "101", "102"),
    ),
    Odd(
        "recbole-header",
        text(
            [
                "user_id:token\titem_id:token\ttimestamp:float",
                *(f"{u}\t{n}\t{9e8 + n}" for u in range(3) for n in range(3)),
            ],
            name="ml.inter",
        ),
        ("'user_id:token'", "seconds since 1970"),
        ("0", "1", "2"),
    ),
    Odd(
        "dates-with-zones",
        text(
            [
                "user,item,time",
                *(f"u{u},a,2024-01-01T00:30:00+01:00" for u in range(3)),
                *(f"u{u},b,2023-12-31T23:00:00Z" for u in range(3)),
                *(f"u{u},c,2024-01-02 00:00:00" for u in range(3)),
            ]
        ),
        ("date-times",),
        ("b", "a", "c"),
    ),
    Odd(
        "equal-times-keep-the-order-of-the-rows",
        text(["user,item,time", *(f"u{u},{n},5" for u in range(3) for n in "zayb")]),
        ("equal times keep the order of the rows",),
        ("z", "a", "y", "b"),
    ),
    Odd(
        "duplicates",
        text(
            [
                "user,item,time",
                *(f"u{u},{n},{t}" for u in range(3) for t, n in enumerate("aabc") for _ in range(2)),
            ]
        ),
        ("repeat user, item and time",),
        ("a", "a", "b", "c"),
    ),
    Odd(
        "some-times-missing",
        text(
            [
                "user,item,time",
                *(
                    f"u{u},{n},{t}"
                    for u in range(3)
                    for n, t in zip("abcd", ["1", "", "5", "3"], strict=True)
                ),
            ]
        ),
        ("3 events have no time",),
        ("a", "b", "d", "c"),
    ),
    Odd(
        "blanks-skipped",
        text([*events(), ",i1,1700000000"], "--blanks", "skip"),
        ("1 rows without a user or an item left out",),
    ),
    Odd(
        "numbers-in-parquet",
        parquet(
            {"user": [1.0, 1.0, 1.0, None], "item": [2**40, 3, 2, 5], "time": [1, 2, 3, 4]},
            "--blanks",
            "skip",
        ),
        ("1 users, 3 items",),
        (str(2**40), "3", "2"),
    ),
    Odd("core", text(events(), "--min-item", "5"), ("left out by the k-core",)),
)
