"""Broken inputs: what a person may hand to `vision`, and what the message must name.

Each case is a name, a function that writes the files and returns the words after `vision`, and pieces of text
that the error must hold: the place and the fix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.vision.pictures import write_folder, write_idx

Build = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Broken:
    name: str
    build: Build
    expected: tuple[str, ...]


def train(make: Callable[[Path], object], *flags: str) -> Build:
    """`vision train` on what `make` writes into the folder `set`."""

    def build(folder: Path) -> list[str]:
        (folder / "set").mkdir()
        made = make(folder / "set")
        target = made if isinstance(made, Path) else folder / "set"
        return ["train", str(target), "--epochs", "1", "--no-cnn", "--out", str(folder / "run"), *flags]

    return build


def words(*given: str) -> Build:
    return lambda folder: [word.replace("HERE", str(folder)) for word in given]


def text(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return make


def good(folder: Path) -> None:
    write_folder(folder, each=4)


def one_class(folder: Path) -> None:
    write_folder(folder, each=4)
    for path in (folder / "blocks").iterdir():
        path.unlink()
    (folder / "blocks").rmdir()


def few(folder: Path) -> None:
    write_folder(folder, each=4)
    for path in sorted((folder / "blocks").iterdir())[2:]:
        path.unlink()


def all_broken(folder: Path) -> None:
    write_folder(folder, each=4)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"\x89PNG nonsense")


def mixed_channels(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        for i in range(4):
            np.save(folder / name / f"{i}.npy", np.zeros((8, 8, 4 + i % 2), np.uint8))


def five_channels(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        for i in range(4):
            np.save(folder / name / f"{i}.npy", np.zeros((8, 8, 5), np.uint8))


def class_only_to_judge(folder: Path) -> None:
    write_folder(folder / "train", each=4)
    write_folder(folder / "test", each=4)
    (folder / "test" / "stars").mkdir()
    for name in "abc":
        Image.new("RGB", (8, 8)).save(folder / "test" / "stars" / f"{name}.png")


def no_labels_beside(folder: Path) -> None:
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((3, 4, 4)))


def short_idx(folder: Path) -> None:
    path = write_idx(folder / "train-images-idx3-ubyte", np.zeros((3, 4, 4)))
    path.write_bytes(path.read_bytes()[:-5])
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(3))


def not_idx(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(b"hello there")
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(3))


def unequal_idx(folder: Path) -> None:
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((3, 4, 4)))
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(5))


def cut_cifar(folder: Path) -> None:
    (folder / "data_batch_1.bin").write_bytes(b"\0" * 3000)


def parts_without_classes(folder: Path) -> None:
    for part in ("train", "test"):
        (folder / part).mkdir()
        Image.new("RGB", (8, 8)).save(folder / part / "a.png")


def predict(make: Callable[[Path], Path], *flags: str) -> Build:
    """`vision predict` with the run RUN, which the test puts in."""
    return lambda folder: ["predict", "RUN", str(make(folder)), *flags]


def raw(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def array(name: str, values: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / name, values)
        return folder / name

    return make


def picture(mode: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        Image.new(mode, (8, 8)).save(folder / "a.tif")
        return folder / "a.tif"

    return make


def unknown_class(folder: Path) -> list[str]:
    write_folder(folder / "set", each=3)
    (folder / "set" / "bars").rename(folder / "set" / "stars")
    return ["evaluate", "RUN", str(folder / "set")]


def unlabelled(folder: Path) -> list[str]:
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    return ["evaluate", "RUN", str(folder)]


def unequal_frames(folder: Path) -> Path:
    (folder / "clip").mkdir()
    for i, side in enumerate((8, 8, 12)):
        Image.new("L", (side, side)).save(folder / "clip" / f"{i}.png")
    return folder / "clip"


def video(make: Callable[[Path], Path], *flags: str) -> Build:
    return lambda folder: ["video", "train", str(make(folder)), "--out", str(folder / "run"), *flags]


def empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


BROKEN = (
    Broken("no such folder", words("train", "HERE/photos"), ("photos", "does not exist")),
    Broken("nothing named", words("train"), ("no images are named", "vision train")),
    Broken(
        "a misspelt set", words("train", "fashon-mnist"), ("fashon-mnist", "did you mean 'fashion-mnist'")
    ),
    Broken("an empty folder", train(lambda folder: None), ("holds no images",)),
    Broken("one class", train(one_class), ("only one class", "bars")),
    Broken("a class of two", train(few), ("class 'blocks' has too few images", "2 that can be read")),
    Broken("no image can be read", train(all_broken), ("none of the images can be read", "8 files")),
    Broken("channels are mixed", train(mixed_channels), ("different numbers of channels", "4", "5")),
    Broken("channels cannot be made", train(five_channels, "--channels", "3"), ("0.npy", "5 channels")),
    Broken("a class only to judge", train(class_only_to_judge), ("class 'stars' has no image to train on",)),
    Broken("parts without classes", train(parts_without_classes), ("parts without class folders",)),
    Broken("images without labels", train(no_labels_beside), ("train-images", "train-labels")),
    Broken("an IDX file cut off", train(short_idx), ("43 bytes", "48")),
    Broken("no IDX file", train(not_idx), ("is no IDX file", "hell")),
    Broken("more labels than images", train(unequal_idx), ("do not belong together", "(5,)")),
    Broken("a CIFAR file cut off", train(cut_cifar), ("data_batch_1.bin", "3,000 bytes")),
    Broken("a table without paths", train(text("t.csv", "a,b\n1,2\n3,4\n")), ("no column of paths", "a, b")),
    Broken("a table of absent files", train(text("t.csv", "path,label\nx.png,a\n")), ("'x.png'", "row 2")),
    Broken("a document", train(text("notes.md", "# hello")), ("notes.md", ".md")),
    Broken("no such model", train(good, "--model", "vigg"), ("vigg", "did you mean 'vig'")),
    Broken("no such preset", train(good, "--model", "vig-huge"), ("huge", "preset of vig")),
    Broken("no size", train(good, "--size", "big"), ("--size", "big", "40x72")),
    Broken("a size of zero", train(good, "--size", "0"), ("--size", "0")),
    Broken("nothing to freeze", train(good, "--freeze"), ("--freeze", "--start RUN")),
    Broken("a start that is none", train(good, "--start", "nowhere"), ("nowhere", "not a model directory")),
    Broken("smoothing beyond one", train(good, "--smoothing", "2"), ("smoothing", "from 0 to below 1")),
    Broken("no run", words("predict", "HERE/none", "HERE/a.png"), ("none", "not a model directory")),
    Broken("no such image", words("predict", "RUN", "HERE/a.png"), ("a.png", "does not exist")),
    Broken("an empty image", predict(raw("a.png", b"")), ("a.png", "an empty file")),
    Broken("text as image", predict(raw("a.jpg", b"hello world")), ("a.jpg", "hello")),
    Broken("an array out of range", predict(array("a.npy", np.full((4, 4), 9.0))), ("a.npy", "range", "9")),
    Broken("an array of text", predict(array("a.npy", np.array([["x"]]))), ("a.npy", "uint8")),
    Broken("an archive of objects", predict(raw("a.npy", b"\x93NUMPY\x01\x00")), ("a.npy", "numpy.save")),
    Broken("grey for a colour model", predict(picture("L")), ("a.tif", "1 channels", "--convert")),
    Broken("a class that is unknown", unknown_class, ("stars", "bars")),
    Broken("nothing to judge by", unlabelled, ("no labels", "vision predict")),
    Broken("an export without ending", words("export", "RUN", "HERE/model"), ("model", ".onnx or .pt2")),
    Broken(
        "no such class", words("explain", "RUN", "IMAGE", "--class", "bar"), ("bar", "did you mean 'bars'")
    ),
    Broken("no such part", words("evaluate", "RUN", "SET", "--part", "test"), ("no part 'test'",)),
    Broken("a bad resolution", words("info", "vig-t", "--res", "224,x"), ("x", "--size")),
    Broken(
        "arrows without room", words("data", "make", "arrow", "HERE/x", "--size", "50"), ("size", "scale")
    ),
    Broken("a folder without clips", video(empty), ("holds no clips",)),
    Broken("frames of two sizes", video(unequal_frames), ("different shapes", "(12, 12, 1)")),
    Broken("no video", video(raw("a.mp4", b"nothing")), ("a.mp4", "no video")),
    Broken("an odd size of frames", video(empty, "--size", "30"), ("--size", "multiples of 4")),
    Broken("a clip as matrix", video(array("a.npy", np.zeros((3, 3)))), ("a.npy", "(3, 3)", "frames")),
)
