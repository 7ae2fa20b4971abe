"""One readable training loop, optimiser groups, run directories, checkpoints and model directories.

Names are imported on first use, so that a configuration which holds a `FitConfig` can be read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statewise.core.train.config import FitConfig
    from statewise.core.train.device import resolve_device, seeded, threads
    from statewise.core.train.guard import Diverged
    from statewise.core.train.loop import fit
    from statewise.core.train.model_directory import SavedModel, load_model, save_model
    from statewise.core.train.optim import parameter_groups
    from statewise.core.train.result import FitResult, Tick
    from statewise.core.train.run import Run
    from statewise.core.train.task import Task

__all__ = [
    "Diverged",
    "FitConfig",
    "FitResult",
    "Run",
    "SavedModel",
    "Task",
    "Tick",
    "fit",
    "load_model",
    "parameter_groups",
    "resolve_device",
    "save_model",
    "seeded",
    "threads",
]

_MODULES = {
    "Diverged": "guard",
    "FitConfig": "config",
    "FitResult": "result",
    "Run": "run",
    "SavedModel": "model_directory",
    "Task": "task",
    "Tick": "result",
    "fit": "loop",
    "load_model": "model_directory",
    "parameter_groups": "optim",
    "resolve_device": "device",
    "save_model": "model_directory",
    "seeded": "device",
    "threads": "device",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
