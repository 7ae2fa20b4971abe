"""Runs a compiled kernel over ranges of independent work items, on as many threads as torch uses.

A kernel owns what it writes for each item and computes an item in one way, whichever range it falls into, so
results are the same to the bit for any number of threads. Kernels release the interpreter lock. There is no
OpenMP here: its pools die in forked DataLoader workers, while this one is simply made anew in a child.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch

__all__ = ["GRAIN", "over"]

GRAIN = 1 << 16
"""Elements below which a second thread costs more than it brings."""

_pool: ThreadPoolExecutor | None = None
_owner = (0, 0)


def over(items: int, elements: int, kernel: Callable[..., object], *arguments: object) -> None:
    """Call `kernel(*arguments, lo, hi)` on ranges that cover `range(items)`, and return when all are done.

    Args:
        items: number of independent work items.
        elements: elements that the whole call touches; it bounds the number of threads.
        kernel: works on the items lo, ..., hi - 1; releases the interpreter lock.
        arguments: what it takes before lo and hi.
    """
    count = 1 if elements < 2 * GRAIN else min(torch.get_num_threads(), items, elements // GRAIN)
    if count <= 1:
        if items > 0:
            kernel(*arguments, 0, items)
        return
    bounds = [items * part // count for part in range(count + 1)]
    pool = _workers(count - 1)
    futures = [pool.submit(kernel, *arguments, lo, hi) for lo, hi in pairwise(bounds[1:])]
    kernel(*arguments, 0, bounds[1])
    for future in futures:
        future.result()


def _workers(count: int) -> ThreadPoolExecutor:
    """A pool of at least `count` threads that belongs to this process."""
    global _pool, _owner
    process = os.getpid()
    if _pool is None or _owner[0] != process or _owner[1] < count:
        _pool = ThreadPoolExecutor(count, thread_name_prefix="statewise")
        _owner = (process, count)
    return _pool
