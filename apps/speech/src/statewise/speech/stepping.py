"""An enhancer as one layer over blocks of samples: a block goes in, the block before it comes out clean.

    y_{t-1}, state = layer.step(x_t, state)          x_t (B, hop) samples

The transform, the model and the overlap are inside, so that a live stream, or an exported file, holds
everything that there is to do. The transform is a product with the Fourier basis, which every runtime has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from statewise.core.errors import UserError
from statewise.core.layers.contract import Layer
from statewise.speech.models.enhancer import Enhancer
from statewise.speech.stft import STFTState

__all__ = ["BlockConfig", "BlockEnhancer", "BlockState"]


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """The width of a `BlockEnhancer`."""

    d_model: int
    """Samples of a block: the hop of the model."""


class BlockState(NamedTuple):
    """What a stream carries from block to block."""

    edge: STFTState
    model: Any


class BlockEnhancer(Layer[BlockState]):
    """A streaming enhancer from blocks to blocks, one block late.

    Args:
        model: an enhancer that streams.

    Raises:
        UserError: it does not.
    """

    forwards: Tensor
    backwards: Tensor

    def __init__(self, model: Enhancer) -> None:
        if not model.streaming:
            raise UserError(
                "looks at whole signals and cannot run as a stream",
                where=type(model).__name__,
                expected="a causal model",
                fix="choose a preset that ends in -causal, or: speech enhance FILE",
            )
        super().__init__(BlockConfig(d_model=model.stft.hop))
        self.model = model
        forwards, backwards = _fourier(2 * model.stft.hop, model.stft.window.double())
        self.register_buffer("forwards", forwards.float(), persistent=False)
        self.register_buffer("backwards", backwards.float(), persistent=False)

    def step(self, x_t: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        frame = torch.cat([state.edge.block, x_t], dim=1)
        spectrum = (frame @ self.forwards).unflatten(1, (-1, 2))[:, None]
        enhanced, inner = self.model(spectrum, state.model)
        made = enhanced.flatten(1) @ self.backwards
        head, tail = made.chunk(2, dim=1)
        return head + state.edge.overlap, BlockState(STFTState(x_t, tail), inner)

    def sequence(
        self, x: Tensor, state: BlockState, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, BlockState]:
        if reset is not None or lengths is not None:
            raise UserError("takes neither reset nor lengths", where=type(self).__name__)
        spectrum, block = self.model.stft.analyse(x.flatten(1), state.edge.block)
        enhanced, inner = self.model(spectrum, state.model)
        y, overlap = self.model.stft.synthesise(enhanced, state.edge.overlap)
        return y.reshape(x.shape), BlockState(STFTState(block, overlap), inner)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> BlockState:
        return BlockState(self.model.stft.initial_state(batch_size), self.model.initial_state(batch_size))


def _fourier(size: int, window: Tensor) -> tuple[Tensor, Tensor]:
    """Windowed real Fourier transform and its inverse as matrices.

    Returns:
        (size, 2F), from a frame to the real and imaginary parts in turn, and (2F, size) back.
    """
    bins, n = torch.arange(size // 2 + 1), torch.arange(size)
    angle = 2 * math.pi * ((n[:, None] * bins) % size).double() / size
    forwards = torch.stack([angle.cos(), -angle.sin()], dim=-1) * window[:, None, None]
    weight = torch.full((len(bins),), 2.0, dtype=torch.float64)
    weight[0] = weight[-1] = 1.0
    backwards = torch.stack([angle.cos(), -angle.sin()], dim=-1) * (weight / size)[None, :, None]
    return forwards.flatten(1), (backwards * window[:, None, None]).flatten(1).T.contiguous()
