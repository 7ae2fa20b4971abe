"""Data sets that come as a few binary files: IDX (MNIST and its kin) and the binary form of CIFAR.

IDX: two zero bytes, the code of the type, the number of axes, each axis as a big-endian 32-bit integer, then
the values; also gzipped. CIFAR: records of one label byte (two in CIFAR-100: coarse, fine) and 3,072 bytes,
red, green and blue planes of 32 x 32.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from statewise.core.errors import DataError

__all__ = ["cifar_parts", "idx_parts", "read_cifar", "read_idx"]

_TYPES = {8: np.dtype(np.uint8), 9: np.dtype(np.int8), 11: np.dtype(">i2"), 12: np.dtype(">i4")}
_PARTS = {"train": "train", "t10k": "test", "test": "test", "validation": "validation", "val": "validation"}
_SIDE = 32


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, gzipped or not.

    Raises:
        DataError: it is absent, damaged, truncated or no IDX file.
    """
    data = _bytes_of(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or not data[3]:
        raise DataError(
            "is no IDX file",
            where=str(path),
            seen=f"a file that begins with {data[:4]!r}",
            expected="two zero bytes, the code of a type and the number of axes",
            fix="check that this is the file of MNIST's format",
        )
    kind, axes = _TYPES[data[2]], data[3]
    header = 4 + 4 * axes
    shape = tuple(np.frombuffer(data[4:header], ">u4").tolist()) if len(data) >= header else ()
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize if len(shape) == axes else -1
    if size != len(data) - header:
        raise DataError(
            "has another length than its header says",
            where=str(path),
            seen=f"{max(0, len(data) - header):,} bytes of values",
            expected=f"{size:,} for shape {shape}" if size >= 0 else f"a header of {header} bytes",
            fix="fetch the file again",
        )
    return np.frombuffer(data, kind, offset=header).reshape(shape)


def idx_parts(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Images and labels of each part in a folder of IDX files: `train-images-idx3-ubyte.gz` and so on.

    Raises:
        DataError: images without their labels.
    """
    found: dict[str, tuple[Path, Path]] = {}
    for images in sorted(folder.glob("*-images*idx3-ubyte*")):
        prefix = images.name.partition("-images")[0]
        labels = sorted(folder.glob(f"{prefix}-labels*idx1-ubyte*"))
        if not labels:
            raise DataError(
                "has no labels beside it",
                where=str(images),
                expected=f"{prefix}-labels-idx1-ubyte or the same with .gz",
                fix="put the file of labels into the folder",
            )
        found.setdefault(_PARTS.get(prefix, prefix), (images, labels[0]))
    return found


def cifar_parts(folder: Path) -> dict[str, list[Path]]:
    """The files of each part in a folder of CIFAR's binary form; empty for other folders."""
    ten = sorted(folder.glob("data_batch_*.bin")), sorted(folder.glob("test_batch.bin"))
    hundred = sorted(folder.glob("train.bin")), sorted(folder.glob("test.bin"))
    train, test = ten if ten[0] else hundred
    return {part: files for part, files in (("train", train), ("test", test)) if files}


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) and labels (n,) of one binary file; of CIFAR-100 the fine labels.

    Raises:
        DataError: its length is no whole number of records.
    """
    data = np.frombuffer(_bytes_of(path), np.uint8)
    labels = 1 if "batch" in path.name else 2
    record = labels + 3 * _SIDE * _SIDE
    if not data.size or data.size % record:
        raise DataError(
            "is no whole number of CIFAR's records",
            where=str(path),
            seen=f"{data.size:,} bytes",
            expected=f"a multiple of {record:,}",
            fix="fetch the file again, in its binary form",
        )
    rows = data.reshape(-1, record)
    images = rows[:, labels:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, labels - 1].astype(np.int64)


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot be read ({error})", where=str(path), fix="fetch the file again") from None
