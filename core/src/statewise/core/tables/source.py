"""From a path to the bytes of a text: opening, unpacking, recognising what is no table, and settling the
encoding.
"""

from __future__ import annotations

import codecs
import gzip
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from statewise.core.errors import DataError, suggestion

__all__ = ["TEXT_ENDINGS", "Content", "open_source", "to_utf8"]

TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".tab", ".dat", ".psv", ".inter", "")
"""Endings of files that are read as delimited text."""

_ADVICE = {
    ".xlsx": "save the sheet as CSV in the spreadsheet program",
    ".xls": "save the sheet as CSV in the spreadsheet program",
    ".ods": "save the sheet as CSV in the spreadsheet program",
    ".zip": "unpack it and give the file inside",
    ".zst": "unpack it with `zstd -d` or pack it with gzip",
    ".bz2": "unpack it with `bunzip2` or pack it with gzip",
    ".xz": "unpack it with `unxz` or pack it with gzip",
    ".json": "convert it to CSV",
    ".jsonl": "convert it to CSV",
    ".feather": "convert it to parquet",
    ".arrow": "convert it to parquet",
    ".h5": "convert it to parquet or CSV",
    ".npz": "convert it to CSV",
    ".pkl": "convert it to CSV or parquet; pickles are never opened, since they can run code",
    ".toml": "a configuration goes to --config; give a data file here",
    ".ts": "that is a file of labelled series: `forecast classify` reads it",
}
_MAGIC = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet or document",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x7fELF": "a program",
    b"ARROW1": "an Arrow file",
    b"\x80\x04\x95": "a Python pickle",
}


@dataclass(frozen=True, kw_only=True)
class Content:
    """The bytes of one source, unpacked."""

    name: str
    """How messages call it: its path, or `standard input`."""
    data: bytes
    parquet: bool = False


def open_source(source: str | Path, *, absent: str = "check the path") -> Content:
    """Read a file (`-`: standard input) whole and unpack gzip.

    Args:
        source: the path.
        absent: what to do when there is no such file and none with a similar name.

    Raises:
        DataError: when it is absent, a directory, forbidden, empty, damaged or of a kind that is not read.
    """
    if str(source) == "-":
        return _unpacked("standard input", sys.stdin.buffer.read(), "")
    path = Path(source)
    data = _bytes_of(path, absent)
    ending = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    return _unpacked(str(path), data, ending.lower())


def to_utf8(content: Content, encoding: str | None) -> tuple[bytes, str]:
    """The text as UTF-8 without a byte-order mark and with line feeds only, and the encoding it had.

    Raises:
        DataError: when it is binary, or not in the encoding that was named.
    """
    found = encoding or _guess_encoding(content)
    data = content.data
    if found in ("utf-8", "utf-8-sig"):
        data = data.removeprefix(codecs.BOM_UTF8)
        _refuse_nul(content.name, data)
    else:
        try:
            data = data.decode(found).removeprefix("\ufeff").encode()
        except UnicodeDecodeError as error:
            raise _undecodable(content, found, error.start) from None
        _refuse_nul(content.name, data)
    if encoding in ("utf-8", "utf-8-sig"):
        _require_utf8(content, data)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data, found


def _bytes_of(path: Path, absent: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            "there is no such file",
            where=str(path),
            fix=suggestion(path.name, near) or absent,
        ) from None
    except IsADirectoryError:
        files = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in (".csv", ".parquet"))
        raise DataError(
            "is a directory",
            where=str(path),
            expected="a file",
            fix=f"name a file in it, such as {path / files[0]}" if files else "name a CSV or parquet file",
        ) from None
    except PermissionError:
        raise DataError(
            "may not be read by this user",
            where=str(path),
            fix=f"give the right to read it: chmod u+r {path}",
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", where=str(path)[:200], fix="check the path") from None


def _unpacked(name: str, data: bytes, ending: str) -> Content:
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"is a damaged or cut-off gzip file ({error})", where=name, fix="copy or download it again"
            ) from None
    parquet = data[:4] == b"PAR1" or ending in (".parquet", ".pq")
    if not data.strip(b"\x00\xef\xbb\xbf\xff\xfe \t\r\n"):
        raise DataError(
            "is empty",
            where=name,
            seen=f"{len(data)} bytes",
            expected="a header and rows of data",
            fix="check that the export that wrote it has finished",
        )
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if kind is not None or not (parquet or ending in TEXT_ENDINGS):
        raise DataError(
            "is not a kind of file that is read here",
            where=name,
            seen=kind or f"the ending {ending}",
            expected="delimited text (.csv .tsv .txt), also as .gz, or .parquet",
            fix=_ADVICE.get(ending, "save it as CSV"),
        )
    return Content(name=name, data=data, parquet=parquet)


def _guess_encoding(content: Content) -> str:
    """UTF-16 by its mark or its zero bytes, else UTF-8 if it is valid, else Windows-1252."""
    head = content.data[:4_096]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    half = len(head) // 2
    if half > 8 and head[1::2].count(0) > 0.8 * half:
        return "utf-16-le"
    if half > 8 and head[0::2].count(0) > 0.8 * half:
        return "utf-16-be"
    try:
        content.data.decode()
    except UnicodeDecodeError as error:
        controls = sum(byte < 32 and byte not in b"\t\r\n" for byte in head)
        if 0 in head or controls > 0.01 * len(head):
            raise _binary(content.name, content.data, error.start) from None
        return "cp1252" if not set(content.data) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1"
    return "utf-8"


def _refuse_nul(name: str, data: bytes) -> None:
    position = data.find(0)
    if position >= 0:
        raise _binary(name, data, position)


def _binary(name: str, data: bytes, position: int) -> DataError:
    line = data.count(b"\n", 0, position) + 1
    return DataError(
        "holds bytes that are no text",
        where=f"{name}, row {line}",
        seen=f"the byte 0x{data[position]:02x} at position {position:,}",
        expected="delimited text",
        fix="export the table again as CSV (UTF-8)",
    )


def _require_utf8(content: Content, data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise _undecodable(content, "utf-8", error.start) from None


def _undecodable(content: Content, encoding: str, position: int) -> DataError:
    line = content.data.count(b"\n", 0, position) + 1
    return DataError(
        f"is not {encoding} text",
        where=f"{content.name}, row {line}",
        seen=f"the byte 0x{content.data[position]:02x}",
        fix="leave --encoding out: it is then found in the file",
    )
