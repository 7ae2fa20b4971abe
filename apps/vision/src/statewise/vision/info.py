"""What a model costs: parameters, multiply-adds and memory by resolution, counted without running it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from statewise.core.config import to_dict
from statewise.vision.macs import multiply_adds, parameter_count
from statewise.vision.models import build

__all__ = ["Cost", "Info", "describe"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One forward pass on one image."""

    height: int
    width: int
    multiply_adds: int
    """Of matrix products, convolutions, attention and scans; nothing is left out."""
    memory: int
    """Bytes of all tensors that live at the same time at most, without the weights, float32."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """A model in numbers."""

    model: str
    parameters: int
    settings: dict[str, Any]
    costs: tuple[Cost, ...]


def describe(spec: str, sizes: Sequence[tuple[int, int]], *, channels: int = 3, classes: int = 1000) -> Info:
    """Build the model without memory and count.

    Args:
        spec: `MODEL` or `MODEL-PRESET`.
        sizes: heights and widths to count at; the model is made for 224 x 224.
        channels: of the images.
        classes: number of classes.

    Raises:
        UnknownNameError: there is no such model or preset.
    """
    # fake tensors know the device, so attention is fused here as it is in earnest
    with torch.device("meta"):
        network = build(spec, channels=channels, classes=classes)
    with FakeTensorMode(allow_non_fake_inputs=True):
        network.to_empty(device="cpu")
        costs = [_cost(network, channels, height, width) for height, width in sizes]
    return Info(
        model=spec, parameters=parameter_count(network), settings=to_dict(network.config), costs=tuple(costs)
    )


def _cost(network: nn.Module, channels: int, height: int, width: int) -> Cost:
    shape = (1, channels, height, width)
    with torch.no_grad(), _Living() as living:
        network.eval()(torch.empty(*shape))
    return Cost(
        height=height,
        width=width,
        multiply_adds=multiply_adds(network, *shape),
        memory=living.most,
    )


class _Living(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, until nothing refers to them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {id(x.untyped_storage()) for x in _tensors((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._known or id(storage) in inputs:
                continue
            size = storage.nbytes()
            self._known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, key, size)
        return result

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for part in value for tensor in _tensors(part)]
    return []
