"""The contract of every layer: train on whole sequences, run as a stream, with the same numbers.

    y, state = layer(x, state=None, reset=None, lengths=None)     x (B, L, D), reset (B, L) bool, lengths (B,)
    y_t, state = layer.step(x_t, state)                           x_t (B, D)
    state = layer.initial_state(batch_size)                       a NamedTuple of tensors, batch first

`reset[b, t]` means: the whole state of row b is replaced by `initial_state` before step t. `lengths[b]` is
where the right-padded row b ends: from there on the state is frozen and outputs are zero, whatever the
padding holds. A reset past the end does nothing. The state that `forward` returns continues the sequence, in
chunks or in steps.

A layer is written by subclassing `Layer` and giving `sequence`, `step` and `initial_state`; `forward` checks
its arguments once for all layers, blanks the padding on both sides and calls `sequence`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from statewise.core.errors import UserError
from statewise.core.layers.masking import blank, live

__all__ = ["Layer", "Stateless", "complex_of", "state_dtype"]

S = TypeVar("S", bound=tuple[Any, ...])


class Stateless(NamedTuple):
    """The state of a layer that carries nothing from step to step, or that cannot be streamed."""


class Layer(nn.Module, ABC, Generic[S]):
    """A sequence layer with an explicit state of type `S`; see the module for the contract.

    Args:
        config: the layer's frozen configuration; its first field is `d_model`, the width D of the input.
    """

    streaming: ClassVar[bool] = True
    """False for a layer that reads both ways: it has no `step` and carries no state."""
    slow: ClassVar[frozenset[str]] = frozenset()
    """Its own parameters that train at a smaller rate, such as the eigenvalues of a state matrix."""
    no_decay: ClassVar[frozenset[str]] = frozenset()
    """Its own parameters on which weight decay would act on a dynamics rather than on a map."""
    axes: ClassVar[str] = "BLD"
    """The axes of the input; a layer over frames or grids has more between L and D."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def sequence(self, x: Tensor, state: S, reset: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, S]:
        """What the layer does to whole sequences.

        Args:
            x: (B, L, D), zero after the end of each row.
            state: the state before the first step, never None.
            reset: (B, L) bool, False after the end of each row, or None.
            lengths: (B,) or None.

        Returns:
            y (B, L, D'), of any value after the end of each row, and the state at each row's own end.
        """

    @abstractmethod
    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> S:
        """The state before the first step of a sequence.

        Args:
            batch_size: B.
            device: where the state lives; by default where the parameters do.
            dtype: that of the inputs, by default of the parameters; the state has at least float32.
        """

    def step(self, x_t: Tensor, state: S) -> tuple[Tensor, S]:
        """One step: x_t (B, D) to y_t (B, D'), in constant time and memory.

        Raises:
            UserError: by a layer that reads both ways.
        """
        raise UserError(
            "reads its sequence both ways: it has no step and cannot be streamed",
            where=type(self).__name__,
            fix="call it on whole sequences, or choose a layer that streams",
        )

    def forward(
        self, x: Tensor, state: S | None = None, reset: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, S]:
        """Whole sequences, or the next chunk of them.

        Args:
            x: (B, L, D), L at least 1.
            state: what the previous chunk returned; None starts from `initial_state`.
            reset: (B, L) bool, True where a new sequence begins.
            lengths: (B,) integers in 0..L, the end of each right-padded row.

        Returns:
            y (B, L, D'), zero after the end of each row, and the state at each row's end, differentiable.

        Raises:
            UserError: for an argument of the wrong shape or dtype, named in the message.
        """
        x, state, reset = self.prepared(x, state, reset, lengths)
        y, state = self.sequence(x, state, reset, lengths)
        return blank(y, lengths), state

    def prepared(
        self, x: Tensor, state: S | None, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, S, Tensor | None]:
        """The arguments of `forward`, checked, as `sequence` takes them: x, state and reset."""
        self._check(x, state, reset, lengths)
        if state is None:
            state = self.initial_state(x.shape[0], device=x.device, dtype=x.dtype)
        if lengths is not None:
            x = blank(x, lengths)
            reset = None if reset is None else reset & live(lengths, x.shape[1])
        return x, state, reset

    def zeros(
        self, *shape: int, device: torch.device | str | None, dtype: torch.dtype | None, complex: bool = False
    ) -> Tensor:
        """Zeros for `initial_state`: on the parameters' device by default, never below float32."""
        if device is None or dtype is None:
            like = next(self.parameters(), torch.empty(0))
            device = like.device if device is None else device
            dtype = like.dtype if dtype is None else dtype
        dtype = state_dtype(dtype)
        return torch.zeros(shape, device=device, dtype=complex_of(dtype) if complex else dtype)

    def _check(self, x: Tensor, state: S | None, reset: Tensor | None, lengths: Tensor | None) -> None:
        name, width = type(self).__name__, self.config.d_model
        if x.ndim != len(self.axes) or x.shape[-1] != width or 0 in x.shape[1:]:
            raise _error(name, "x", x, f"({', '.join(self.axes)}) with D = {width}, no other axis empty")
        if not self.streaming and state is not None and not _empty(state):
            raise UserError("reads both ways and carries no state", where=name, fix="pass state=None")
        if "L" not in self.axes and not (reset is None and lengths is None):
            raise UserError("has no time axis", where=name, fix="pass neither reset nor lengths")
        if reset is not None and (reset.dtype != torch.bool or reset.shape != x.shape[:2]):
            raise _error(name, "reset", reset, f"(B, L) bool, here {tuple(x.shape[:2])}")
        if lengths is not None:
            _check_lengths(name, lengths, x)


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which a state of inputs of `dtype` is kept: float32, complex64 or better."""
    return torch.promote_types(dtype, torch.float32)


def complex_of(dtype: torch.dtype) -> torch.dtype:
    """The complex dtype of the same precision, complex64 at least."""
    return torch.promote_types(dtype, torch.complex64)


def _check_lengths(name: str, lengths: Tensor, x: Tensor) -> None:
    integer = not (lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool)
    if not integer or lengths.shape != x.shape[:1]:
        raise _error(name, "lengths", lengths, f"(B,) integers, here ({x.shape[0]},)")
    # Reading the values waits for a device and breaks a graph, so only eager CPU tensors are looked into.
    readable = lengths.device.type == "cpu" and not torch.compiler.is_compiling()
    if readable and not bool(((lengths >= 0) & (lengths <= x.shape[1])).all()):
        raise UserError(
            "'lengths' reaches past the sequences",
            where=name,
            seen=str(lengths.tolist()),
            expected=f"between 0 and {x.shape[1]}, the length of x",
        )


def _empty(state: tuple[Any, ...]) -> bool:
    return all(isinstance(part, tuple) and _empty(part) for part in state)


def _error(name: str, argument: str, seen: Tensor, expected: str) -> UserError:
    kind = f"{tuple(seen.shape)} {str(seen.dtype).removeprefix('torch.')}"
    return UserError(f"'{argument}' does not fit", where=name, seen=kind, expected=expected)
