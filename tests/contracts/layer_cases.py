"""What the contract of layers is checked on: the cases of `layers.toml`, their inputs, how to compare."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from statewise.core import blocks
from statewise.core.config import config_class, from_dict
from statewise.core.layers import build
from statewise.core.layers.contract import Layer

ROOT = Path(__file__).parents[2]
TABLE = tomllib.loads(Path(__file__).with_name("layers.toml").read_text(encoding="utf-8"))
CASES = [*TABLE["layers"], *(f"blocks:{name}" for name in TABLE["blocks"])]
B, L, BEFORE = 3, 7, 4
"""Rows, steps of the sequences compared, and steps run before them to have a state to carry."""


def make(case: str, dtype: torch.dtype = torch.float32) -> Layer[Any]:
    """The layer of a case, with noise on every parameter: one that starts at zero could hide a fault."""
    torch.manual_seed(0)
    kind, _, name = case.rpartition(":")
    if kind:
        cls = getattr(blocks, name.partition("/")[0])
        layer = cls(from_dict(config_class(cls), TABLE["blocks"][name]))
    else:
        layer = build(name.partition("/")[0], **TABLE["layers"][name])
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return layer.to(dtype).eval()


def inputs(layer: Layer[Any], dtype: torch.dtype = torch.float32, rows: int = B, length: int = L) -> Tensor:
    """x of the layer's own axes; those between L and D have the sizes of its configuration, or 3."""
    sizes = {"B": rows, "L": length, "D": layer.config.d_model}
    named = {"Y": "height", "X": "width", "V": "variates"}
    inner = {axis: getattr(layer.config, field, 3) for axis, field in named.items()}
    return torch.randn([(inner | sizes)[axis] for axis in layer.axes], dtype=dtype)


def carried(layer: Layer[Any], dtype: torch.dtype = torch.float32, rows: int = B) -> Any:
    """A state as a stream carries it; None for a layer that carries none."""
    if not layer.streaming:
        return None
    with torch.no_grad():
        return layer(inputs(layer, dtype, rows, BEFORE))[1]


def leaves(state: Any) -> list[Tensor]:
    """The tensors of a state, in order."""
    if isinstance(state, Tensor):
        return [state]
    return [leaf for part in state or () for leaf in leaves(part)]


def rebuild(state: Any, tensors: list[Tensor]) -> Any:
    """A state of the same structure from other tensors."""
    queue = iter(tensors)
    return mapped(state, lambda _: next(queue))


def mapped(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A state of the same structure with every tensor changed."""
    if state is None or isinstance(state, Tensor):
        return state if state is None else change(state)
    parts = [mapped(part, change) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def chosen(mask: Tensor, state: Any, other: Any) -> Any:
    """Rows of `state` where the mask is true, else rows of `other`."""
    picked = [
        torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)
        for a, b in zip(leaves(state), leaves(other), strict=True)
    ]
    return rebuild(state, picked)


def fold(layer: Layer[Any], x: Tensor, state: Any, reset: Tensor | None = None) -> tuple[Tensor, Any]:
    """The definition: one step after the other, the whole state replaced where a sequence begins."""
    outputs = []
    fresh = layer.initial_state(x.shape[0], device=x.device, dtype=x.dtype)
    state = fresh if state is None else state
    for t in range(x.shape[1]):
        if reset is not None:
            state = chosen(reset[:, t], fresh, state)
        y, state = layer.step(x[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def close(actual: Any, expected: Any, dtype: torch.dtype, loose: float = 1.0) -> None:
    """Equal up to rounding, relative to the largest value of each tensor."""
    tolerance = loose * (1e-5 if dtype == torch.float32 else 1e-11)
    pairs = list(zip(leaves(actual), leaves(expected), strict=True))
    for a, b in pairs:
        sized = b.numel() and not whole(b)
        scale = max(1.0, float(b.detach().abs().max())) if sized else 1.0
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * scale, check_dtype=True)


def random_reset(rows: int = B, length: int = L) -> Tensor:
    """Resets within rows, on the first step of one and on none of another."""
    reset = torch.zeros(rows, length, dtype=torch.bool)
    reset[0, [0, 3]] = True
    reset[1, [2, length - 1]] = True
    return reset


def gradients(outputs: Any, wrt: list[Tensor]) -> list[Tensor]:
    """Gradients of a fixed random projection of all outputs."""
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros((), dtype=torch.float64)
    for out in leaves(outputs):
        if out.requires_grad:
            real = torch.view_as_real(out) if out.is_complex() else out
            total = total + (real * torch.randn(real.shape, generator=generator).to(real.dtype)).sum()
    return list(torch.autograd.grad(total, wrt, allow_unused=True, materialize_grads=True))


def differentiable(state: Any) -> Any:
    """The state as leaves that take gradients."""
    return mapped(state, lambda leaf: leaf.detach().clone().requires_grad_(not whole(leaf)))


def whole(tensor: Tensor) -> bool:
    """Whether a state holds counts or marks, which have no gradient and no precision."""
    return not (tensor.is_floating_point() or tensor.is_complex())


@cache
def _traits(case: str) -> tuple[bool | None, bool]:
    """Whether a case streams, None if that is not known, and whether it has a time axis."""
    try:
        layer = make(case)
    except Exception:  # A layer that cannot be built fails in its own tests; the others still run.
        return None, True
    return layer.streaming, "L" in layer.axes


def each(
    *, streaming: bool | None = None, sequential: bool = True, compiles: bool = False
) -> pytest.MarkDecorator:
    """All cases, or those that stream, or those that do not; by default only those with a time axis.

    A test that compiles takes seconds a case: other settings of a layer than its first are then `slow`.
    """
    picked: list[Any] = []
    for case in CASES:
        streams, timed = _traits(case)
        if (streaming is None or streams in (None, streaming)) and (timed or not sequential):
            other = compiles and "/" in case
            picked.append(pytest.param(case, marks=pytest.mark.slow) if other else case)
    return pytest.mark.parametrize("case", picked)


dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
