"""A fitted model as a directory: all that prediction needs, in a fresh process, without the training data.

`config.json` says what the model is, `weights.safetensors` holds the parameters of its network,
`arrays.safetensors` whatever else was learnt (scalers, residuals, matrices). None of them can hold code.
torch is imported only for models that have a network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from statewise.core import __version__
from statewise.core.errors import CheckpointError
from statewise.core.train.atomic import replace_file, write_text
from statewise.core.train.formats import FORMAT, refuse_newer
from statewise.core.train.launch import process_rank

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SavedModel", "load_model", "save_model"]

CONFIG, WEIGHTS, ARRAYS = "config.json", "weights.safetensors", "arrays.safetensors"


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """What a model directory holds."""

    path: Path
    kind: str
    """What the directory was saved as, such as `timeseries/tpgn`."""
    config: dict[str, Any]
    """The configuration from which the model is built again."""
    metadata: dict[str, Any]
    """Plain values that prediction needs: column names, frequency, label names."""
    arrays: dict[str, np.ndarray]

    def load_weights(self, network: nn.Module) -> None:
        """Load the saved parameters into `network`.

        Raises:
            CheckpointError: there are none, or they belong to another network.
        """
        from statewise.core.train.tensors import load_into, read_tensors

        load_into(network, read_tensors(self.path / WEIGHTS)[0], str(self.path))


def save_model(
    path: str | Path,
    *,
    kind: str,
    config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
    network: nn.Module | None = None,
) -> Path:
    """Write a model directory, replacing a model that is there; its path.

    `config.json` is written last and holds the digests of the other files: a save that was cut off is noticed
    when it is read. Of several processes (torchrun) only the first writes.

    Args:
        path: the directory.
        kind: what it is, checked by `load_model`.
        config: plain values (see `statewise.core.config.to_dict`).
        metadata: further plain values.
        arrays: numbers and booleans by name; text and timestamps belong in `metadata`.
        network: its parameters and buffers are saved.

    Raises:
        CheckpointError: the directory holds a `config.json` of another program, or cannot be written.
        TypeError: an array holds something else than numbers and booleans.
    """
    path = Path(path).expanduser()
    if process_rank() != 0:
        return path
    if (path / CONFIG).exists():
        _read_config(path)
    path.mkdir(parents=True, exist_ok=True)
    written = []
    if network is not None:
        from statewise.core.train.tensors import write_tensors

        write_tensors(path / WEIGHTS, network.state_dict(), {})
        written.append(WEIGHTS)
    if arrays:
        plain = {name: _plain(name, array) for name, array in arrays.items()}
        replace_file(path / ARRAYS, lambda new: save_file(plain, new))
        written.append(ARRAYS)
    facts = {
        "format": FORMAT,
        "kind": kind,
        "statewise": __version__,
        "config": dict(config),
        "metadata": dict(metadata or {}),
        "sha256": {name: _digest(path / name) for name in written},
    }
    write_text(path / CONFIG, json.dumps(facts, indent=2) + "\n")
    for name in {WEIGHTS, ARRAYS}.difference(written):
        (path / name).unlink(missing_ok=True)
    return path


def load_model(path: str | Path, *, kind: str | None = None) -> SavedModel:
    """Read a model directory, or the directory `model` of a run.

    Args:
        path: the directory.
        kind: what the model must be, or the part of it before a slash; None accepts every model.

    Raises:
        CheckpointError: nothing is there, it is damaged, of another program or kind, or too new.
    """
    path = Path(path).expanduser()
    if not (path / CONFIG).exists() and (path / "model").is_dir():
        path = path / "model"
    facts = _read_config(path)
    if kind is not None and facts["kind"] != kind and not facts["kind"].startswith(f"{kind}/"):
        raise CheckpointError(
            "is a model of another kind",
            where=str(path),
            seen=facts["kind"],
            expected=kind,
            fix="check the path",
        )
    for name, digest in facts["sha256"].items():
        _check(path / name, digest)
    arrays = load_file(path / ARRAYS) if ARRAYS in facts["sha256"] else {}
    return SavedModel(
        path=path, kind=facts["kind"], config=facts["config"], metadata=facts["metadata"], arrays=arrays
    )


def _read_config(path: Path) -> dict[str, Any]:
    file = path / CONFIG
    if not file.is_file():
        seen = f"no {CONFIG} in it" if path.is_dir() else "a file" if path.exists() else "no such directory"
        raise CheckpointError(
            "is not a model directory",
            where=str(path),
            seen=seen,
            expected="a directory that `fit` or `save` made",
            fix="check the path; if the run has not ended, finish it with --resume",
        )
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(file, f"is not valid JSON: {error}") from None
    except OSError as error:
        raise CheckpointError("cannot be read", where=str(file), seen=str(error.strerror)) from None
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int) or "sha256" not in facts:
        raise CheckpointError(
            "was not written by statewise",
            where=str(file),
            seen="a configuration of another program",
            expected="a model that `fit` or `save` made",
            fix="choose another directory",
        )
    refuse_newer(file, facts["format"])
    return facts


def _check(file: Path, digest: str) -> None:
    if not file.is_file():
        raise _damaged(file, "is missing")
    if _digest(file) != digest:
        raise _damaged(file, f"does not belong to the {CONFIG} beside it, or was altered")


def _damaged(file: Path, what: str) -> CheckpointError:
    return CheckpointError(
        what,
        where=str(file),
        expected="the file as it was saved",
        fix="restore the directory from a copy, or save the model again (`fit --resume` on its run)",
    )


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"array '{name}' holds {array.dtype}; a model directory keeps numbers and booleans")
    return np.array(array, order="C")
