"""What a run was asked for, kept in its directory: `--resume` takes it over and refuses other data.

keep_settings(run, settings, fingerprint=panel.fingerprint)                  # in `fit`
settings, fingerprint = kept_settings(run, FitSettings)                      # in `fit --resume`
require_files(run, settings.data, "forecast fit data.csv")
require_same_data(run, fingerprint, panel.fingerprint, settings.data)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from statewise.core.config import from_dict, to_dict
from statewise.core.errors import CheckpointError
from statewise.core.train.run import Run

__all__ = ["keep_settings", "kept_settings", "require_files", "require_same_data"]

SETTINGS = "settings.json"
T = TypeVar("T")


def keep_settings(run: Run, settings: Any, *, fingerprint: str) -> None:
    """Write `settings.json`: a configuration dataclass, and what identifies the data."""
    run.write_json(SETTINGS, to_dict(settings) | {"fingerprint": fingerprint})


def kept_settings(run: Run, kind: type[T]) -> tuple[T, str]:
    """The settings of a run as an object of class `kind`, and the fingerprint of its data.

    Raises:
        CheckpointError: the run holds none, or they are damaged.
        ConfigError: they do not fit the class.
    """
    path = run.path / SETTINGS
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        fingerprint = str(kept.pop("fingerprint"))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"holds no settings to resume from ({error})",
            where=str(path),
            fix="start a new run without --resume",
        ) from None
    return from_dict(kind, kept, where=str(path)), fingerprint


def require_files(run: Run, sources: Sequence[str], command: str) -> None:
    """Refuse to go on with a run on standard input, unless files have taken its place.

    Args:
        run: the run.
        sources: files, `-` for standard input.
        command: that fits a run on a file, for the message: `forecast fit data.csv`.

    Raises:
        CheckpointError: standard input is among the sources.
    """
    if "-" in sources:
        raise CheckpointError(
            "was fitted on standard input, which cannot be read again",
            where=str(run.path),
            fix=f"name a file with the same rows: {command} --resume RUN",
        )


def require_same_data(run: Run, kept: str, found: str, sources: Sequence[str]) -> None:
    """Refuse to go on with other data than a run began with.

    Raises:
        CheckpointError: the fingerprints differ.
    """
    if found != kept:
        raise CheckpointError(
            "began with other data",
            where=str(run.path),
            seen=f"fingerprint {found} of {', '.join(sources)}",
            expected=f"fingerprint {kept}",
            fix="restore the file, or start a new run without --resume",
        )
