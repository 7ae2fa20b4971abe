"""Work in numbered blocks, spread over processors or machines by Ray Data (the extra `ray`).

Each actor makes its worker once, such as one that loads a model, and answers block after block. A cluster is
joined where RAY_ADDRESS names one (files must then lie on a disk that all machines see), else Ray runs on
this machine for the time it takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from statewise.core.errors import MissingExtraError, UserError

__all__ = ["Worker", "spread"]


class Worker(Protocol):
    """What answers blocks."""

    def answer(self, block: int) -> int:
        """Do the work of a block; how many things came of it."""
        ...


def spread(
    make: Callable[..., Worker], given: tuple[Any, ...], blocks: Sequence[int], *, workers: int, purpose: str
) -> int:
    """Let a pool of workers answer all blocks.

    Args:
        make: makes a worker; Ray sends it to its actors.
        given: the arguments of `make`.
        blocks: their numbers.
        workers: actors.
        purpose: what Ray is wanted for, in a few words.

    Returns:
        The sum of the answers.

    Raises:
        MissingExtraError: Ray is not installed.
        UserError: Ray does not start.
    """
    # under `uv run` Ray would send the whole directory to its workers and install this environment anew
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports]  # an extra
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtraError("ray", "statewise-core[ray]", purpose) from None
    started = not ray.is_initialized()
    if started:
        _start(ray, workers)
    try:
        numbers: Any = ray.data.from_items([{"block": block} for block in blocks])
        answered = numbers.repartition(len(blocks)).map_batches(
            _Actor,
            fn_constructor_args=(make, given),
            compute=ray.data.ActorPoolStrategy(size=workers),
            batch_size=1,
            num_cpus=1,
        )
        return sum(int(row["answer"]) for row in answered.iter_rows())
    finally:
        if started:
            ray.shutdown()


class _Actor:
    """Holds a worker."""

    def __init__(self, make: Callable[..., Worker], given: tuple[Any, ...]) -> None:
        self.worker = make(*given)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"answer": np.array([self.worker.answer(int(block)) for block in batch["block"]])}


def _start(ray: Any, workers: int) -> None:
    """Join the cluster that RAY_ADDRESS names, or start one on this machine."""
    # one more than the workers hold: reading the numbers of the blocks takes a turn too
    here = {"num_cpus": workers + 1, "include_dashboard": False}
    here = {} if os.environ.get("RAY_ADDRESS") else here
    try:
        ray.init(log_to_driver=False, configure_logging=False, **here)
    except Exception as error:  # what Ray raises here has no class of its own
        raise UserError(
            "does not start",
            where="Ray",
            seen=str(error),
            fix="try again when the machine is less busy, or start it before with 'ray start --head' and set "
            "RAY_ADDRESS=auto",
        ) from error
