"""Ctrl-C and SIGTERM as a request that the loop answers at the next step boundary."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupt", "watch_signals"]


class Interrupt:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: the first signal asks, the second does not wait."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def watch_signals() -> Iterator[Interrupt]:
    """Catch SIGINT and SIGTERM during the block.

    Python allows that in the main thread only; elsewhere nothing is caught and the signals keep their effect.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
