"""The public sets that `vision data` names, and where copies of them usually lie."""

from __future__ import annotations

from statewise.core.datasets import Dataset

__all__ = ["DATASETS", "FOLDERS", "NAMES"]

_FASHION = {
    "licence": "MIT",
    "credit": "Xiao, Rasul and Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine "
    "Learning Algorithms, 2017; these files are those of Debian's package dataset-fashion-mnist",
}
_MNIST = {
    "licence": "CC BY-SA 3.0",
    "credit": "LeCun, Cortes and Burges, The MNIST Database of Handwritten Digits, 1998",
}

DATASETS = {
    "fashion-mnist-train-images": Dataset(
        summary="60,000 articles of clothing, 28 x 28 grey",
        file="train-images-idx3-ubyte.gz",
        sha256="b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
        size=26_421_856,
        **_FASHION,
    ),
    "fashion-mnist-train-labels": Dataset(
        summary="their classes, ten",
        file="train-labels-idx1-ubyte.gz",
        sha256="0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
        size=29_491,
        **_FASHION,
    ),
    "fashion-mnist-test-images": Dataset(
        summary="10,000 more",
        file="t10k-images-idx3-ubyte.gz",
        sha256="cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
        size=4_422_079,
        **_FASHION,
    ),
    "fashion-mnist-test-labels": Dataset(
        summary="their classes",
        file="t10k-labels-idx1-ubyte.gz",
        sha256="8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
        size=5_125,
        **_FASHION,
    ),
    "mnist-test-images": Dataset(
        summary="10,000 handwritten digits, 28 x 28 grey; what Moving MNIST is made of here",
        file="t10k-images-idx3-ubyte.gz",
        sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        size=1_648_877,
        **_MNIST,
    ),
    "mnist-test-labels": Dataset(
        summary="which digits they are",
        file="t10k-labels-idx1-ubyte.gz",
        sha256="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        size=4_542,
        **_MNIST,
    ),
}
"""The files by name."""

FOLDERS: dict[str, tuple[str, ...]] = {
    "fashion-mnist": ("/usr/share/datasets/fashion-mnist", "data/fashion-mnist"),
    "mnist": ("/usr/share/datasets/mnist", "data/mnist"),
    "cifar10": ("data/cifar-10-batches-bin",),
    "cifar100": ("data/cifar-100-binary",),
}
"""Where copies of whole sets are looked for, after `vision/NAME` below the folder in STATEWISE_DATA."""

NAMES: dict[str, tuple[str, ...]] = {
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}
"""Names of the classes, where the files hold only numbers."""
