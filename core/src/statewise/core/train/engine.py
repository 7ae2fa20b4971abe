"""One process in plain torch, or several through Lightning Fabric: what differs between the two.

Fabric takes seconds to import, so it is imported only by the run that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import nn

from statewise.core.errors import ConfigError
from statewise.core.train.config import FitConfig
from statewise.core.train.device import resolve_device
from statewise.core.train.launch import started_processes

__all__ = ["Engine", "make_engine"]

T = TypeVar("T")


class Engine(Protocol):
    """What the loop asks of the machinery below it."""

    device: torch.device
    rank: int
    """Number of this process, from 0."""
    world: int
    """Number of processes."""

    def prepare(self, model: nn.Module) -> nn.Module:
        """The module whose forward pass the task calls."""
        ...

    def micro_batch(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Around one forward and backward pass; gradients are exchanged in the `last` of a step."""
        ...

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of `loss`, averaged over the processes."""
        ...

    def total(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes."""
        ...

    def share(self, value: T) -> T:
        """The value that the first process has."""
        ...


class Plain:
    """One process, one device, fp32: plain torch."""

    rank, world = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def prepare(self, model: nn.Module) -> nn.Module:
        return model

    def micro_batch(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def total(self, values: Sequence[float]) -> list[float]:
        return list(values)

    def share(self, value: T) -> T:
        return value


class Fabric:
    """Several processes (DDP) or bf16, through Lightning Fabric."""

    def __init__(self, config: FitConfig) -> None:
        import lightning_fabric

        world, local = started_processes()
        accelerator, _, index = config.device.partition(":")
        self.fabric = lightning_fabric.Fabric(
            accelerator=accelerator,
            devices=local or ([int(index)] if index else config.devices),
            num_nodes=max(1, world // local) if local else 1,
            strategy="ddp" if world > 1 or config.devices > 1 else "auto",
            precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        )
        self.fabric.launch()
        self.device = self.fabric.device
        self.rank, self.world = self.fabric.global_rank, self.fabric.world_size

    def prepare(self, model: nn.Module) -> nn.Module:
        return self.fabric.setup_module(model)

    def micro_batch(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        return self.fabric.no_backward_sync(cast(Any, model), enabled=not last and self.world > 1)

    def backward(self, loss: torch.Tensor) -> None:
        self.fabric.backward(loss)

    def total(self, values: Sequence[float]) -> list[float]:
        if self.world == 1:
            return list(values)
        local = torch.tensor(values, dtype=torch.float64, device=self.device)
        return cast(torch.Tensor, self.fabric.all_reduce(local, reduce_op="sum")).tolist()

    def share(self, value: T) -> T:
        return self.fabric.broadcast(value)


def make_engine(config: FitConfig) -> Engine:
    """Fabric for several processes or another precision than fp32, else plain torch.

    Raises:
        ConfigError: `devices` differs from what torchrun has started.
    """
    world, local = started_processes()
    if local and config.devices not in (1, local):
        raise ConfigError(
            "torchrun has started another number of processes",
            where="devices",
            seen=f"{config.devices}; torchrun {local}",
            fix="leave --devices out",
        )
    if world > 1 or config.devices > 1 or config.precision != "fp32":
        return Fabric(config)
    return Plain(resolve_device(config.device))
