"""Checks of the arguments of an operator: each error names the argument, what was seen and what was right."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from statewise.core.errors import UserError

__all__ = ["argument_error", "as_dtype", "check_device", "check_mask", "check_shape", "state_dtype"]


def argument_error(
    op: str, name: str, seen: object, expected: str, what: str = "has the wrong shape"
) -> UserError:
    """The error for the argument `name` of `op`; tensors are shown by shape, dtype and device."""
    if isinstance(seen, Tensor):
        kind = str(seen.dtype).removeprefix("torch.")
        seen = f"{tuple(seen.shape)} {kind} on {seen.device}"
    return UserError(f"'{name}' {what}", where=op, seen=str(seen), expected=expected)


def check_shape(
    op: str, name: str, tensor: Tensor, shape: tuple[int, ...], letters: str, like: Tensor
) -> None:
    """Raise unless `tensor` has exactly `shape` (spelled in `letters`) and lives on the device of `like`."""
    if tensor.shape != shape:
        raise argument_error(op, name, tensor, f"{letters} = {tuple(shape)}")
    check_device(op, name, tensor, like)


def check_device(op: str, name: str, tensor: Tensor, like: Tensor) -> None:
    """Raise unless `tensor` lives on the device of `like`."""
    if tensor.device != like.device:
        raise argument_error(op, name, tensor, f"all arguments on {like.device}", "is on another device")


def check_mask(op: str, reset: Tensor, like: Tensor) -> None:
    """Raise unless `reset` is a boolean (B, L) beside the (B, L, ...) of `like`."""
    check_shape(op, "reset", reset, like.shape[:2], "(B, L)", like)
    if reset.dtype != torch.bool:
        raise argument_error(op, "reset", reset, "torch.bool", "has the wrong dtype")


def state_dtype(op: str, *tensors: tuple[str, Tensor | None]) -> torch.dtype:
    """The dtype that the named tensors promote to, at least float32.

    Raises:
        UserError: a tensor holds integers or booleans.
    """
    dtype = torch.float32
    for name, tensor in tensors:
        if tensor is None or tensor.dtype == dtype:
            continue
        if not (tensor.is_floating_point() or tensor.is_complex()):
            raise argument_error(op, name, tensor, "a floating-point or complex dtype", "has the wrong dtype")
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


@overload
def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor: ...
@overload
def as_dtype(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None: ...
def as_dtype(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """`tensor.to(dtype)` that leaves no trace in an exported graph where there is nothing to do."""
    return tensor if tensor is None or tensor.dtype == dtype else tensor.to(dtype)
