"""Further places for the metrics of a run, beside metrics.jsonl."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from statewise.core.errors import ConfigError, MissingExtraError
from statewise.core.train.result import Row
from statewise.core.train.run import Run

__all__ = ["Sink", "open_sink"]


class Sink(Protocol):
    """Takes the rows of a run."""

    def log(self, row: Row) -> None:
        """Take one row."""
        ...


class Nowhere:
    """Takes rows and drops them."""

    def log(self, row: Row) -> None:
        """Drop the row."""


class TensorBoard:
    """Writes rows to `tensorboard/` in the run directory; a resumed run hides there what it does again."""

    def __init__(self, run: Run, step: float | None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError(
                "tensorboard", "statewise-core[tensorboard]", "log = 'tensorboard'"
            ) from None
        self._writer = SummaryWriter(
            str(run.path / "tensorboard"), purge_step=None if step is None else int(step) + 1
        )

    def log(self, row: Row) -> None:
        """Write every number of the row at its step."""
        step = int(row["step"] or 0)
        for name, value in row.items():
            if name != "step" and value is not None:
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left and close the file."""
        self._writer.close()


@contextmanager
def open_sink(name: str | None, run: Run | None, *, step: float | None) -> Iterator[Sink]:
    """The sink called `name` for a run whose last row is that of `step`, None for a new one.

    Raises:
        ConfigError: the run has no directory to write to.
        MissingExtraError: the package behind it is not installed.
    """
    if name is None or (run is not None and not run.writes):
        yield Nowhere()
        return
    if run is None:
        raise ConfigError("TensorBoard needs a run directory", where="log", seen="a fit without one")
    board = TensorBoard(run, step)
    try:
        yield board
    finally:
        board.close()
