"""What the user named, as a list of images with labels: a folder, a table, a public set, single files.

A folder of folders: the names of the folders are the classes. Folders called train, validation and test on
top of that are the parts. A table (CSV, parquet) has a column of paths, relative to it, and one of labels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from statewise.core.errors import DataError, suggestion
from statewise.core.registry import canonical
from statewise.vision.datasets import FOLDERS, NAMES
from statewise.vision.decode import ENDINGS, decode
from statewise.vision.idx import cifar_parts, idx_parts, read_cifar, read_idx

__all__ = ["PARTS", "ImageSource", "open_images"]

PARTS = ("train", "validation", "test")
_PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_TABLES = (".csv", ".tsv", ".txt", ".parquet")
_PATH_COLUMNS = ("path", "file", "filename", "image", "image_path", "filepath", "file_name")
_LABEL_COLUMNS = ("label", "class", "target", "category", "y")
_PART_COLUMNS = ("split", "part", "subset", "set")
_IGNORED = ("thumbs.db", "desktop.ini", ".ds_store")


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """Images that can be read one by one."""

    name: str
    """A short name, for the run directory."""
    classes: tuple[str, ...]
    """Names of the classes; empty without labels."""
    labels: np.ndarray
    """(n,) int64, indices into `classes`; -1 where there is none."""
    parts: tuple[str, ...]
    """Per image `train`, `validation` or `test`, or empty where the source does not say."""
    paths: tuple[Path, ...] = ()
    """Files, where the images are files."""
    array: np.ndarray | None = None
    """(n, Y, X, C) uint8, where they come in one piece."""
    notes: tuple[str, ...] = ()
    """What was found and assumed."""

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> np.ndarray:
        """The pixels of one image, (Y, X, C): uint8, or float32 from 0 to 1.

        Raises:
            UnreadableImage: it is damaged.
        """
        return decode(self.paths[index]) if self.array is None else self.array[index]

    def place(self, index: int) -> str:
        """What messages call an image."""
        return str(self.paths[index]) if self.array is None else f"{self.name}, image {index}"


def open_images(sources: Sequence[str | Path]) -> ImageSource:
    """Find out what `sources` are.

    Args:
        sources: one folder, table or name of a public set, or any number of image files.

    Raises:
        DataError: nothing of that kind is there.
    """
    if not sources:
        raise DataError("no images are named", expected="a folder, a table, a file", fix="name one")
    first = Path(sources[0]).expanduser()
    if len(sources) > 1 or first.suffix.lower() in ENDINGS:
        return _files([Path(source).expanduser() for source in sources])
    if not first.exists():
        return _named(str(sources[0]))
    if first.is_dir():
        return _folder(first)
    if first.suffix.lower() in _TABLES:
        return _table(first)
    raise DataError(
        "is neither a folder nor a table nor an image",
        where=str(first),
        seen=first.suffix or "a file without ending",
        expected="a folder of class folders, a .csv of paths and labels, or an image",
        fix="name the folder that holds the images",
    )


def _files(paths: list[Path]) -> ImageSource:
    for path in paths:
        if not path.is_file():
            raise DataError(
                "is no file" if path.exists() else "does not exist",
                where=str(path),
                fix="check the path; a folder is named alone",
            )
    return ImageSource(
        name=paths[0].stem,
        classes=(),
        labels=np.full(len(paths), -1),
        parts=("",) * len(paths),
        paths=tuple(paths),
    )


def _named(name: str) -> ImageSource:
    """A public set by its name, where a copy is on this machine."""
    key = canonical(name)
    if key not in FOLDERS:
        near = suggestion(name, [*FOLDERS, *(path.name for path in Path().iterdir() if path.is_dir())])
        raise DataError(
            "does not exist",
            where=name,
            expected=f"a folder, a table, an image, or one of {', '.join(FOLDERS)}",
            fix=near or "check the path",
        )
    root = os.environ.get("STATEWISE_DATA", "")
    places = [*([Path(root) / "vision" / key] if root else []), *map(Path, FOLDERS[key])]
    for place in places:
        if place.is_dir() and any(place.iterdir()):
            source = _folder(place)
            classes = NAMES.get(key, source.classes)
            return replace(source, name=key, classes=classes if source.classes else ())
    raise DataError(
        "is known, but no copy of it is on this machine",
        where=name,
        expected=f"its files in {' or '.join(map(str, places))}",
        fix=f"put them there, or name the folder that holds them; `vision data {key}` says where from",
    )


def _folder(folder: Path) -> ImageSource:
    if parts := idx_parts(folder):
        return _idx(folder, parts)
    if files := cifar_parts(folder):
        return _cifar(folder, files)
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    parts_below = {path: _PART_NAMES[path.name.lower()] for path in below if path.name.lower() in _PART_NAMES}
    if below and len(parts_below) == len(below):
        return _parted(folder, parts_below)
    return _classed(folder, [(path, "") for path in below if any(_images_in(path))], below)


def _parted(folder: Path, parts: dict[Path, str]) -> ImageSource:
    """Folders train, validation and test with class folders inside."""
    classed = [
        (path, part)
        for top, part in parts.items()
        for path in sorted(top.iterdir())
        if path.is_dir() and any(_images_in(path))
    ]
    if not classed:
        raise DataError(
            "holds parts without class folders",
            where=str(folder),
            seen=", ".join(path.name for path in parts),
            expected="train/CLASS/image.jpg",
            fix="put the images of each class into a folder of its name",
        )
    found = sorted(set(parts.values()))
    source = _classed(folder, classed, [])
    note = f"folders {', '.join(path.name for path in parts)} are the parts {', '.join(found)}"
    return replace(source, notes=(*source.notes, note))


def _classed(folder: Path, classed: list[tuple[Path, str]], below: list[Path]) -> ImageSource:
    """Class folders; without any, the images of the folder itself, unlabelled."""
    loose = [path for path in sorted(folder.iterdir()) if path.is_file()]
    images = [path for path in loose if path.suffix.lower() in ENDINGS]
    if not classed:
        if not images:
            raise DataError(
                "holds no images",
                where=str(folder),
                seen=f"{len(loose)} other files and {len(below)} folders without images",
                expected=f"files ending in {', '.join(ENDINGS[:8])} ...",
                fix="name the folder that holds them",
            )
        return replace(_files(images), name=folder.resolve().name, notes=_others(loose))
    names = sorted({path.name for path, _ in classed})
    index = {name: number for number, name in enumerate(names)}
    paths, labels, parts = [], [], []
    for place, part in classed:
        for path in _images_in(place):
            paths.append(path)
            labels.append(index[place.name])
            parts.append(part)
    notes = []
    if images:
        notes.append(f"{len(images)} images beside the class folders have no class and are left out")
    if empty := [path.name for path in below if path not in {place for place, _ in classed}]:
        notes.append(f"folders without images are left out: {', '.join(empty[:6])}")
    return ImageSource(
        name=folder.resolve().name,
        classes=tuple(names),
        labels=np.array(labels, np.int64),
        parts=tuple(parts),
        paths=tuple(paths),
        notes=tuple(notes),
    )


def _images_in(folder: Path) -> Iterator[Path]:
    """Image files below a folder, in a fixed order."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix.lower() in ENDINGS and path.is_file():
            yield path


def _others(files: list[Path]) -> tuple[str, ...]:
    other = [path.name for path in files if path.suffix.lower() not in ENDINGS]
    other = [name for name in other if name.lower() not in _IGNORED and not name.startswith(".")]
    return (f"{len(other)} files that are no images are left out: {', '.join(other[:3])}",) if other else ()


def _idx(folder: Path, parts: dict[str, tuple[Path, Path]]) -> ImageSource:
    images, labels, names = [], [], []
    for part, (image_file, label_file) in parts.items():
        pixels, marks = read_idx(image_file), read_idx(label_file)
        if pixels.ndim != 3 or pixels.dtype != np.uint8 or marks.ndim != 1 or len(pixels) != len(marks):
            raise DataError(
                "images and labels do not belong together",
                where=f"{image_file}, {label_file.name}",
                seen=f"images {pixels.shape} {pixels.dtype}, labels {marks.shape}",
                expected="images (n, rows, columns) of bytes and n labels",
                fix="take both files from one set",
            )
        images.append(pixels)
        labels.append(marks.astype(np.int64))
        names += [part if part in PARTS else ""] * len(marks)
    return _arrays(folder, [part[..., None] for part in images], labels, names)


def _cifar(folder: Path, files: dict[str, list[Path]]) -> ImageSource:
    images, labels, names = [], [], []
    for part, paths in files.items():
        for path in paths:
            pixels, marks = read_cifar(path)
            images.append(pixels)
            labels.append(marks)
            names += [part] * len(marks)
    return _arrays(folder, images, labels, names)


def _arrays(
    folder: Path, images: list[np.ndarray], labels: list[np.ndarray], parts: list[str]
) -> ImageSource:
    marks = np.concatenate(labels)
    return ImageSource(
        name=folder.resolve().name,
        classes=tuple(str(number) for number in range(int(marks.max()) + 1)),
        labels=marks,
        parts=tuple(parts),
        array=np.concatenate(images),
    )


def _table(path: Path) -> ImageSource:
    """A table of paths and labels."""
    import polars as pl

    from statewise.core.tables.load import load

    table = load(path)
    columns = {name.lower(): name for name in table.frame.columns}
    place = next((columns[name] for name in _PATH_COLUMNS if name in columns), None)
    if place is None:
        raise DataError(
            "has no column of paths",
            where=str(path),
            seen=f"columns {', '.join(table.frame.columns[:8])}",
            expected=f"a column called {' or '.join(_PATH_COLUMNS[:4])}",
            fix="rename the column",
        )
    label = next((columns[name] for name in _LABEL_COLUMNS if name in columns), None)
    part = next((columns[name] for name in _PART_COLUMNS if name in columns), None)
    files: list[Path] = []
    for row, name in enumerate(table.frame[place].cast(pl.String).to_list()):
        file = path.parent / (name or "")
        if not name or not file.is_file():
            raise DataError(
                f"'{name or ''}' is no file",
                where=table.place(row, place),
                expected=f"a path relative to {path.parent}",
                fix="correct the path, or remove the row",
            )
        files.append(file)
    words = [""] * len(files) if label is None else table.frame[label].cast(pl.String).to_list()
    for row, word in enumerate(words if label is not None else []):
        if word is None or not word.strip():
            raise DataError("the label is empty", where=table.place(row, label), fix="fill it in")
    names = sorted({str(word) for word in words}) if label is not None else []
    index = {name: number for number, name in enumerate(names)}
    said = [""] * len(files) if part is None else table.frame[part].cast(pl.String).to_list()
    parts = [_part_of(word, table.place(row, part)) for row, word in enumerate(said)]
    return ImageSource(
        name=path.stem,
        classes=tuple(names),
        labels=np.array([index.get(str(word), -1) for word in words], np.int64),
        parts=tuple(parts),
        paths=tuple(files),
    )


def _part_of(word: str | None, place: str) -> str:
    if not word or not word.strip():
        return ""
    if word.strip().lower() not in _PART_NAMES:
        raise DataError(
            f"'{word}' is no part", where=place, expected="train, validation or test", fix="correct the word"
        )
    return _PART_NAMES[word.strip().lower()]
