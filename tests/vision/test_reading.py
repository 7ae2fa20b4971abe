"""Images of every kind become the pixels they hold; folders and tables their classes and parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from statewise.core.errors import DataError
from statewise.vision.decode import UnreadableImage, decode
from statewise.vision.idx import read_idx
from statewise.vision.pixels import Shape, find_shape, load_pixels, resized, with_channels
from statewise.vision.sources import ImageSource, open_images
from statewise.vision.splits import divide, shared_images
from tests.vision.pictures import save, shape_image, write_folder, write_idx

RNG = np.random.default_rng(3)
COLOUR = RNG.integers(0, 255, (6, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "ppm"])
def test_lossless_colour_is_exact(ending, tmp_path: Path):
    assert np.array_equal(decode(save(COLOUR, tmp_path / f"a.{ending}")), COLOUR)


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_lossy_colour_is_near(ending, tmp_path: Path):
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    found = decode(save(smooth, tmp_path / f"a.{ending}")).astype(int)
    assert abs(found - smooth).max() < 12


def test_a_palette_becomes_its_colours(tmp_path: Path):
    Image.fromarray(COLOUR).quantize(64).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").shape == (6, 5, 3)


def test_transparency_becomes_white(tmp_path: Path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png")
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[1, 1].tolist() == [255, 255, 255]
    Image.new("LA", (2, 2), (7, 0)).save(tmp_path / "b.png")
    assert decode(tmp_path / "b.png").tolist() == [[[255], [255]], [[255], [255]]]


def test_sixteen_bits_keep_their_depth(tmp_path: Path):
    values = np.array([[0, 257], [30_000, 65_535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., 0], values / 65_535, atol=1e-7)


def test_one_bit_and_cmyk(tmp_path: Path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png")[..., 0].tolist() == [[0, 255]]
    Image.new("CMYK", (3, 2), (0, 0, 0, 0)).save(tmp_path / "b.jpg")
    assert decode(tmp_path / "b.jpg").shape == (2, 3, 3)
    assert decode(tmp_path / "b.jpg").min() > 250


def test_exif_rotation_is_applied(tmp_path: Path):
    image = Image.fromarray(np.zeros((10, 4, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert decode(tmp_path / "a.jpg").shape[:2] == (4, 10)


def test_arrays_of_any_channels(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.full((3, 4, 7), 0.5, np.float32))
    assert decode(tmp_path / "a.npy").shape == (3, 4, 7)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), max_size=3)
)
def test_a_damaged_file_is_read_or_refused_with_a_fix(tmp_path: Path, cut, flips):
    path = save(np.random.default_rng(0).integers(0, 255, (10, 10, 3), dtype=np.uint8), tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    path.write_bytes(bytes(data[: len(data) - cut % len(data)]))
    refusal, found = None, None
    try:
        found = decode(path)
    except UnreadableImage as error:
        refusal = error
    if found is None:
        assert refusal is not None
        assert refusal.fix
        assert "a.png" in str(refusal)
    else:
        assert found.ndim == 3


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), fit=st.sampled_from(["crop", "pad", "stretch"]),
    side=st.integers(1, 24), channels=st.sampled_from([1, 3, 5]),
)  # fmt: skip
def test_every_image_is_brought_to_the_size(height, width, fit, side, channels):
    pixels = np.full((height, width, channels), 77, np.uint8)
    found = resized(pixels, Shape(channels=channels, height=side, width=side + 3, fit=fit))
    assert found.shape == (channels, side, side + 3)
    assert found.dtype == np.uint8
    assert set(np.unique(found)) <= ({77} if fit != "pad" else {0, 77})


def test_a_panorama_works(tmp_path: Path):
    wide = np.zeros((200, 3000, 3), np.uint8)
    wide[:, 1400:1600] = 200
    assert resized(wide, Shape(channels=3, height=32, width=32)).mean() > 190
    assert resized(wide, Shape(channels=3, height=32, width=32, fit="pad")).shape == (3, 32, 32)


def test_a_folder_of_folders(tmp_path: Path):
    write_folder(tmp_path, each=4)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden").mkdir()
    save(COLOUR, tmp_path / "loose.png")
    source = open_images([tmp_path])
    assert source.classes == ("bars", "blocks")
    assert source.labels.tolist() == [0] * 4 + [1] * 4
    assert "1 images beside" in source.notes[0]


def test_parts_by_folder_and_by_table(tmp_path: Path):
    for part in ("train", "val", "test"):
        write_folder(tmp_path / "set" / part, each=3)
    source = open_images([tmp_path / "set"])
    assert sorted(set(source.parts)) == ["test", "train", "validation"]
    rows = [f"set/{part}/bars/0{i}.png,bars,{part}" for part in ("train", "test") for i in range(3)]
    rows += [f"set/{part}/blocks/0{i}.png,blocks,{part}" for part in ("train", "test") for i in range(3)]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    table = open_images([tmp_path / "table.csv"])
    assert table.classes == ("bars", "blocks")
    assert table.parts.count("train") == 6


def test_idx_and_cifar(tmp_path: Path):
    images, labels = RNG.integers(0, 255, (12, 4, 5)), np.arange(12) % 3
    write_idx(tmp_path / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte", labels)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images[:3])
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", labels[:3])
    source = open_images([tmp_path])
    trains = [one == "train" for one in source.parts]
    assert np.array_equal(source.array[trains][..., 0], images)
    assert source.parts.count("test") == 3
    cifar = tmp_path / "cifar"
    cifar.mkdir()
    planes = RNG.integers(0, 255, (3, 32, 32), dtype=np.uint8)
    (cifar / "data_batch_1.bin").write_bytes(bytes([7]) + planes.tobytes())
    (cifar / "test_batch.bin").write_bytes(bytes([1]) + planes.tobytes())
    found = open_images([cifar])
    assert found.labels.tolist() == [7, 1]
    assert np.array_equal(found.array[0].transpose(2, 0, 1), planes)


def test_the_parts_of_mnist_are_read(real_data: Path):
    pixels = read_idx(real_data / "vision" / "mnist" / "t10k-images-idx3-ubyte.gz")
    assert pixels.shape == (10_000, 28, 28)
    assert int(pixels[0].sum()) == 18_454


def test_damaged_images_are_left_out_and_counted(tmp_path: Path):
    write_folder(tmp_path, each=6)
    whole = (tmp_path / "bars" / "00.png").read_bytes()
    (tmp_path / "bars" / "00.png").write_bytes(whole[:60])
    source = open_images([tmp_path])
    shape, _ = find_shape(source, channels=None, size=(16, 16), fit="crop")
    pixels = load_pixels(source, shape)
    assert len(pixels.source) == 11
    assert "1 of 12 images cannot be read" in pixels.source.notes[-1]
    assert "00.png" in pixels.skipped[0]


def test_channels_and_size_are_found(tmp_path: Path):
    write_folder(tmp_path / "grey", channels=1, height=20, width=12)
    source = open_images([tmp_path / "grey"])
    shape, _ = find_shape(source, channels=None, size=None, fit="crop")
    assert (shape.channels, shape.height, shape.width) == (1, 20, 12)
    save(COLOUR, tmp_path / "grey" / "bars" / "z.png")
    shape, notes = find_shape(open_images([tmp_path / "grey"]), channels=None, size=None, fit="crop")
    assert shape.channels == 3
    assert "mixed" in notes[0]


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(3, 30), min_size=2, max_size=4), seed=st.integers(0, 5))
def test_parts_are_disjoint_and_hold_every_class(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    source = open_images_of(labels, len(counts))
    parts = divide(source, seed)
    everything = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(everything.tolist()) == list(range(len(labels)))
    for part in (parts.train, parts.validation, parts.test):
        assert set(labels[part]) == set(range(len(counts)))


def open_images_of(labels, classes):
    names = tuple(f"c{i}" for i in range(classes))
    array = np.zeros((len(labels), 2, 2, 1), np.uint8)
    return ImageSource(name="x", classes=names, labels=labels, parts=("",) * len(labels), array=array)


def test_named_test_images_are_never_moved():
    labels = np.tile([0, 1], 20)
    source = open_images_of(labels, 2)
    source = replace(source, parts=("train",) * 30 + ("test",) * 10)
    parts = divide(source, 0)
    assert parts.test.tolist() == list(range(30, 40))
    assert len(parts.validation) > 0
    assert max(parts.validation) < 30


def test_images_that_train_and_judge_are_counted():
    labels = np.tile([0, 1], 10)
    source = replace(open_images_of(labels, 2), array=np.arange(20 * 4, dtype=np.uint8).reshape(20, 2, 2, 1))
    source.array[0] = source.array[19]
    source = replace(source, parts=("train",) * 14 + ("test",) * 6)
    shape, _ = find_shape(source, channels=None, size=None, fit="crop")
    assert shared_images(load_pixels(source, shape), divide(source, 0)) == 1


def test_another_channel_count_cannot_be_made_up():
    image = shape_image(0, RNG, 4, 4, 5)
    with pytest.raises(DataError, match="5 channels"):
        with_channels(image, 3, "a.npy")
