"""Layers of continuous time: a step may last longer or shorter than the ordinary one.

    y, state = layer(x, state, reset, lengths, elapsed)      elapsed (B, L), the time since the previous input
    y_t, state = layer.step(x_t, state, elapsed_t)           elapsed_t (B,)

in units of the ordinary step, so that None is the same as ones. A state space that is discretised with a step
Delta then takes steps of Delta * elapsed, which is how inputs that come at irregular times are read without
being resampled: Smith, Warrington and Linderman, "Simplified State Space Layers for Sequence Modeling", 2023,
do so for images of a pendulum.

The rest of the contract holds as it stands. Only the recurrence knows of time: a short convolution in front
of it sees the order of the inputs and nothing else.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

from torch import Tensor

from statewise.core.errors import UserError
from statewise.core.layers.contract import Layer
from statewise.core.layers.masking import blank

__all__ = ["TimedLayer", "timed"]

S = TypeVar("S", bound=tuple[Any, ...])


class TimedLayer(Layer[S]):
    """A layer whose steps may last any time."""

    @abstractmethod
    def sequence(
        self,
        x: Tensor,
        state: S,
        reset: Tensor | None,
        lengths: Tensor | None,
        elapsed: Tensor | None = None,
    ) -> tuple[Tensor, S]:
        """As in `Layer`; `elapsed` (B, L), zero after the end of each row, or None for ones."""

    @abstractmethod
    def step(self, x_t: Tensor, state: S, elapsed: Tensor | None = None) -> tuple[Tensor, S]:
        """As in `Layer`; `elapsed` (B,), or None for ones."""

    def forward(
        self,
        x: Tensor,
        state: S | None = None,
        reset: Tensor | None = None,
        lengths: Tensor | None = None,
        elapsed: Tensor | None = None,
    ) -> tuple[Tensor, S]:
        """As in `Layer`.

        Args:
            x: (B, L, D), L at least 1.
            state: what the previous chunk returned; None starts from `initial_state`.
            reset: (B, L) bool, True where a new sequence begins.
            lengths: (B,) integers in 0..L, the end of each right-padded row.
            elapsed: (B, L), the time since the previous input, at least 0, in units of the ordinary step;
                None for ones.

        Raises:
            UserError: for an argument of the wrong shape or dtype, named in the message.
        """
        if elapsed is None:
            return super().forward(x, state, reset, lengths)
        if elapsed.shape != x.shape[:2] or not elapsed.is_floating_point():
            raise UserError(
                "'elapsed' does not fit",
                where=type(self).__name__,
                seen=f"{tuple(elapsed.shape)} {str(elapsed.dtype).removeprefix('torch.')}",
                expected=f"(B, L) floating point, here {tuple(x.shape[:2])}",
            )
        x, state, reset = self.prepared(x, state, reset, lengths)
        y, state = self.sequence(x, state, reset, lengths, blank(elapsed, lengths))
        return blank(y, lengths), state


def timed(layer: Layer[Any]) -> TimedLayer[Any]:
    """The same layer, if it knows of time.

    Raises:
        UserError: it takes every step to be of the same length.
    """
    if not isinstance(layer, TimedLayer):
        raise UserError(
            "takes every step to be of the same length",
            where=type(layer).__name__,
            fix="leave 'elapsed' out, or choose s5, lru or mamba",
        )
    return layer
