"""The wall time of a run and what it goes to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Clock"]


class Clock:
    """Measures a run that has already taken `spent` seconds before it was resumed."""

    def __init__(self, spent: float) -> None:
        now = time.monotonic()
        self._origin = now - spent
        self._mark = now
        self._saved = now
        self._saving = 0.0
        self._examples = 0
        self.evaluating = 0.0
        """Seconds that the last evaluation took."""

    def seconds(self) -> float:
        """Seconds of the whole run, resumed parts included."""
        return time.monotonic() - self._origin

    def count(self, examples: int) -> None:
        """Note that `examples` more have been trained on."""
        self._examples += examples

    def throughput(self) -> float:
        """Examples per second since the last evaluation."""
        return self._examples / max(time.monotonic() - self._mark, 1e-9)

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Around an evaluation: its time is kept out of the throughput."""
        before = time.monotonic()
        yield
        self._mark = time.monotonic()
        self._examples = 0
        self.evaluating = self._mark - before

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Around the writing of a checkpoint."""
        before = time.monotonic()
        yield
        self._saved = time.monotonic()
        self._saving = self._saved - before

    def save_is_due(self, every: float) -> bool:
        """True `every` seconds after the last checkpoint, later if writing took over 5 % of the time."""
        return time.monotonic() - self._saved >= max(every, 20 * self._saving)
