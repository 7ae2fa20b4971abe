"""A recurrent recommender as files for other runtimes: one step of the encoder, and the item table.

step.onnx (or step.pt2)   x (1, D), the state  ->  y (1, D), the next state
items.safetensors         inputs (V, D), the x of each item; outputs (V, D), bias (V,): scores
items.json                ids in the order of the rows
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from statewise.core.errors import UserError
from statewise.core.export import export_step
from statewise.recsys.saved import load_recommender

__all__ = ["export_run"]


def export_run(path: str | Path, out: str | Path, format: Literal["onnx", "pt2"] = "onnx") -> dict[str, Any]:
    """Write the files; what is in them.

    Raises:
        UserError: the model is no recurrent network.
    """
    one = load_recommender(path)
    if one.network is None:
        raise UserError(
            "counts: its tables are in its model directory, and no runtime is needed to read them",
            where=str(path),
            fix="export a run of a recurrent encoder",
        )
    network = one.network.network
    encoder = network.recurrent()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    exported = export_step(encoder.stack, folder / f"step.{format}", format=format)
    with torch.inference_mode():
        table = network.table()
        arrays = {
            "inputs": network.embed(torch.arange(len(table)), table).contiguous().clone(),
            "outputs": table.contiguous().clone(),
            "bias": network.bias.clone(),
        }
    save_file(arrays, folder / "items.safetensors")
    (folder / "items.json").write_text(json.dumps(one.log.items.to_list()), encoding="utf-8")
    return asdict(exported) | {"items": len(table), "files": ["items.safetensors", "items.json"]}
