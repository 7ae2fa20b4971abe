"""Short-time Fourier transform and its exact inverse, as a stream of hops.

    X_t = rfft(w * [x_{t-1}, x_t])          x_t the t-th block of `hop` samples, x_{-1} = 0
    y_{t-1} = (w * irfft(Y_t))[:hop] + (w * irfft(Y_{t-1}))[hop:]

The window w is the square root of a periodic Hann window over two hops, on both sides: w^2 sums to one over
overlapping frames, so that Y = X gives back x without any division. Output block t - 1 is complete when frame
t is: a delay of one hop. A whole file is the same stream with one more block of zeros behind it, so its
length is kept to the sample.

Letters: B batch, N samples, T frames, F bins. Spectra are (B, T, F, 2), real and imaginary part last.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["STFT", "STFTState"]


class STFTState(NamedTuple):
    """What a stream carries from block to block."""

    block: Tensor
    """The last block of input, (B, hop)."""
    overlap: Tensor
    """The second half of the last synthesised frame, (B, hop)."""


class STFT(nn.Module):
    """Analysis and synthesis with square-root Hann windows over two hops.

    Args:
        hop: samples between frames; the window has twice as many, and there are hop + 1 bins.
    """

    window: Tensor

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop = hop
        window = torch.hann_window(2 * hop, periodic=True, dtype=torch.float64).sqrt().float()
        self.register_buffer("window", window, persistent=False)

    @property
    def bins(self) -> int:
        """F, bins of a frame."""
        return self.hop + 1

    def initial_state(self, batch_size: int) -> STFTState:
        """Silence before the first block."""
        zeros = self.window.new_zeros
        return STFTState(zeros(batch_size, self.hop), zeros(batch_size, self.hop))

    def frames(self, samples: int) -> int:
        """T of a whole signal of `samples` samples."""
        return -(-samples // self.hop) + 1

    def analyse(self, x: Tensor, block: Tensor) -> tuple[Tensor, Tensor]:
        """Frames that end in the next blocks.

        Args:
            x: the next samples, (B, T hop).
            block: the block before them, (B, hop).

        Returns:
            X (B, T, F, 2) and the last block.
        """
        joined = torch.cat([block, x], dim=1)
        frames = joined.unfold(1, 2 * self.hop, self.hop) * self.window
        return torch.view_as_real(torch.fft.rfft(frames)), joined[:, -self.hop :]

    def synthesise(self, spectrum: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor]:
        """The samples of the blocks before the last one, T of them, one hop behind the input.

        Args:
            spectrum: Y (B, T, F, 2).
            overlap: the second half of the frame before the first, (B, hop).

        Returns:
            y (B, T hop) and the second half of the last frame.
        """
        frames = torch.fft.irfft(torch.view_as_complex(spectrum.contiguous()), n=2 * self.hop) * self.window
        heads, tails = frames.chunk(2, dim=2)
        tails = torch.cat([overlap[:, None], tails], dim=1)
        return (heads + tails[:, :-1]).flatten(1), tails[:, -1]

    def spectrum(self, x: Tensor) -> Tensor:
        """The spectrum of whole signals: (B, N) to (B, T, F, 2), T = ceil(N / hop) + 1."""
        more = self.frames(x.shape[1]) * self.hop - x.shape[1]
        padded = torch.nn.functional.pad(x, (0, more))
        return self.analyse(padded, x.new_zeros(x.shape[0], self.hop))[0]

    def signal(self, spectrum: Tensor, samples: int) -> Tensor:
        """The inverse of `spectrum`: (B, T, F, 2) to (B, N) with N = `samples`."""
        y, _ = self.synthesise(spectrum, spectrum.new_zeros(spectrum.shape[0], self.hop))
        return y[:, self.hop : self.hop + samples]
