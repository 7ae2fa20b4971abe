"""Named tensors and a JSON note in one safetensors file: written atomically, checked when read.

A safetensors file cannot hold code. This adds to the format: a checksum (a file of the right length may still
hold the zeros of a power cut), tensors that share memory (tied weights are stored once) and complex128.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from statewise.core.errors import CheckpointError
from statewise.core.train.atomic import replace_file
from statewise.core.train.formats import FORMAT, refuse_newer

__all__ = ["load_into", "read_tensors", "write_tensors"]


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], note: Mapping[str, Any], *, keep: Path | None = None
) -> None:
    """Replace `path` by `tensors` and `note` (plain JSON values); `keep` is where the old file goes."""
    unique, tied = _store_once(tensors)
    wide = [name for name, tensor in unique.items() if tensor.dtype == torch.complex128]
    stored = {
        name: torch.view_as_real(tensor).contiguous() if name in wide else tensor
        for name, tensor in unique.items()
    }
    facts = {"format": FORMAT, "tied": tied, "complex128": wide, "crc32": _checksum(stored), "note": note}
    # one entry: safetensors writes several in an order of chance, and equal contents are to be equal bytes
    header = {"statewise": json.dumps(facts)}
    replace_file(path, lambda new: save_file(stored, new, metadata=header), keep=keep)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the note of a file that `write_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, torn, altered, foreign or from a newer statewise.
    """
    if not path.is_file():
        raise CheckpointError("there is no such file", where=str(path), fix="check the path")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from None
    facts = _parse(path, header)
    if facts["crc32"] != _checksum(stored):
        raise _damaged(path, "the checksum does not fit the contents")
    tensors = {
        name: torch.view_as_complex(t) if name in facts["complex128"] else t for name, t in stored.items()
    }
    return tensors | {alias: tensors[name] for alias, name in facts["tied"].items()}, facts["note"]


def load_into(model: nn.Module, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Load weights into `model`, which must have exactly these names and shapes."""
    own = model.state_dict()
    faults = [f"'{name}' is missing in the file" for name in own.keys() - tensors.keys()]
    faults += [f"'{name}' is not in the model" for name in tensors.keys() - own.keys()]
    faults += [
        f"'{name}' is {tuple(tensors[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(
            "the weights do not fit the model",
            where=where,
            seen="; ".join(sorted(faults)[:3]) + more,
            expected="weights of the same architecture",
            fix="use the configuration the weights were trained with",
        )
    model.load_state_dict(dict(tensors))


def _store_once(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Contiguous CPU tensors without the repeated ones, and for each of those the name it repeats."""
    first: dict[Any, str] = {}
    unique: dict[str, torch.Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in tensors.items():
        key = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and key in first:
            tied[name] = first[key]
        else:
            first[key] = name
            unique[name] = tensor.detach().cpu().contiguous()
    return {name: tensor.clone() if _is_view(tensor) else tensor for name, tensor in unique.items()}, tied


def _is_view(tensor: torch.Tensor) -> bool:
    """True for part of a larger block of memory, which safetensors refuses to write."""
    return tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size()


def _checksum(tensors: Mapping[str, torch.Tensor]) -> int:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        if tensors[name].numel():
            total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return total


def _parse(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
    if "statewise" not in header:
        raise CheckpointError(
            "was not written by statewise",
            where=str(path),
            seen="a foreign safetensors file",
            expected="a file of a statewise run or model",
        )
    try:
        facts = json.loads(header["statewise"])
    except ValueError:
        raise _damaged(path, "its header cannot be read") from None
    refuse_newer(path, facts.get("format", FORMAT))
    if missing := {"format", "tied", "complex128", "crc32", "note"} - facts.keys():
        raise _damaged(path, f"its header lacks {', '.join(sorted(missing))}")
    return facts


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"is damaged ({why})",
        where=str(path),
        seen=f"{path.stat().st_size} bytes",
        expected="a whole safetensors file",
        fix="restore it from a copy, or train again",
    )
