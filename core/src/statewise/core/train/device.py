"""Where a run computes and with which random numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import torch

from statewise.core.errors import ConfigError
from statewise.core.train.launch import started_processes

__all__ = ["derive_seed", "reseed", "resolve_device", "seeded", "threads", "to_device"]

SMALL_MODEL = 1_000_000
"""Parameters below which one thread is taken: handing work to a second one costs more than it saves."""


def resolve_device(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` is CUDA if there is one, then MPS, then the CPU.

    Raises:
        ConfigError: there is no such device on this machine.
    """
    if name == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    kind, _, index = name.partition(":")
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if not there.get(kind) or (index and not (index.isdigit() and int(index) < there[kind])):
        known = [f"{kind}:{i}" if kind == "cuda" else kind for kind, n in there.items() for i in range(n)]
        raise ConfigError(
            "this machine has no such device",
            where="--device",
            seen=name,
            expected=f"auto or one of {', '.join(known)}",
            fix="leave --device out to have the best one chosen",
        )
    return torch.device(name)


@contextmanager
def threads(count: int | None, *, parameters: int) -> Iterator[int]:
    """Run the block with `count` CPU threads; None: one for few `parameters`, else this process's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // max(1, started_processes()[1]))
    chosen = count or (1 if parameters < SMALL_MODEL else share)
    before = torch.get_num_threads()
    torch.set_num_threads(chosen)
    try:
        yield chosen
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Run the block with torch's default generators seeded, and give them back as they were."""
    device = device or torch.device("cpu")
    cuda = device.type == "cuda"
    index = torch.cuda.current_device() if cuda and device.index is None else device.index
    with torch.random.fork_rng(devices=[index] if cuda else []):
        reseed(device, seed)
        yield


def reseed(device: torch.device, *keys: int | str) -> None:
    """Seed torch's default generators of the CPU and of `device` from `keys`."""
    seed = derive_seed(*keys)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def derive_seed(*keys: int | str) -> int:
    """A seed of 63 bits; neighbouring keys give unrelated ones, the same keys the same one everywhere."""
    digest = blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def to_device(batch: Any, device: torch.device) -> Any:
    """`batch` with every tensor in its tuples, lists and dicts moved to `device`."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(value, device) for value in batch)
    return batch
