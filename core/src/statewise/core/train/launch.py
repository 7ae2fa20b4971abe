"""What torchrun, or Fabric in its place, has told this process about its siblings."""

from __future__ import annotations

import os

__all__ = ["process_rank", "started_processes"]


def process_rank() -> int:
    """The number of this process among those that train together; 0 when it is alone."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)


def started_processes() -> tuple[int, int]:
    """Processes in all, and on this machine, that torchrun has started; (1, 0) when it has not."""
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return 1, 0
    return int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
