"""A live stream: raw samples in, enhanced ones out, block by block, and the time that each block takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias

import numpy as np
import torch

from statewise.core.errors import DataError
from statewise.speech.models.enhancer import Enhancer
from statewise.speech.stepping import BlockEnhancer

__all__ = ["Encoding", "Latency", "stream"]

Encoding: TypeAlias = Literal["s16le", "f32le"]
"""16-bit integers or 32-bit floats, little-endian."""
DTYPES = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
WARM = 3
"""Blocks of silence before the first one, so that nothing is compiled while the stream waits."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How a stream went."""

    blocks: int
    hop: float
    """Milliseconds of a block."""
    delay: float
    """Milliseconds from a sample in to the last one out that depends on it: a block to fill, one behind."""
    p50: float
    """Milliseconds of computing per block: median, 99th percentile, most."""
    p99: float
    most: float

    @property
    def keeps_up(self) -> bool:
        """Whether 99 of 100 blocks were done before the next one came."""
        return self.p99 < self.hop


@torch.inference_mode()
def stream(model: Enhancer, source: BinaryIO, target: BinaryIO, encoding: Encoding = "s16le") -> Latency:
    """Enhance one channel at the rate of the model until `source` ends; as many samples come out as went in.

    Raises:
        UserError: the model looks at whole signals.
        DataError: the stream ends inside a sample.
    """
    layer = BlockEnhancer(model).eval()
    hop, width = model.stft.hop, DTYPES[encoding].itemsize
    state = layer.initial_state(1)
    for _ in range(WARM):
        layer.step(torch.zeros(1, hop), state)
    times, received, sent = [], 0, -hop  # the first block out is from before the beginning
    while data := _read(source, hop * width):
        if len(data) % width:
            raise DataError(
                "ends inside a sample", where="standard input", seen=f"{len(data)} bytes", expected=encoding
            )
        block = _decoded(data, encoding)
        received += len(block)
        begun = time.perf_counter()
        y, state = layer.step(torch.from_numpy(np.pad(block, (0, hop - len(block))))[None], state)
        times.append(1000 * (time.perf_counter() - begun))
        sent += _send(target, y[0].numpy(), received - sent, encoding, skip=sent < 0)
    while sent < received:
        y, state = layer.step(torch.zeros(1, hop), state)
        sent += _send(target, y[0].numpy(), received - sent, encoding, skip=sent < 0)
    times = times or [0.0]
    length = 1000 * hop / model.sample_rate
    return Latency(
        blocks=len(times),
        hop=length,
        delay=2 * length,
        p50=float(np.percentile(times, 50)),
        p99=float(np.percentile(times, 99)),
        most=max(times),
    )


def _read(source: BinaryIO, size: int) -> bytes:
    """`size` bytes, fewer only at the end: a pipe gives what it has."""
    parts = b""
    while len(parts) < size and (part := source.read(size - len(parts))):
        parts += part
    return parts


def _decoded(data: bytes, encoding: Encoding) -> np.ndarray:
    samples = np.frombuffer(data, dtype=DTYPES[encoding])
    if encoding == "s16le":
        return samples.astype(np.float32) / 32768
    if not np.isfinite(samples).all():
        raise DataError(
            "has a sample that is not a number", where="standard input", expected="finite samples"
        )
    return samples.astype(np.float32)


def _send(target: BinaryIO, y: np.ndarray, most: int, encoding: Encoding, *, skip: bool) -> int:
    """Write at most `most` samples at once, so that a player hears them now; how many have passed."""
    if skip:
        return len(y)
    y = y[:most]
    if encoding == "s16le":
        y = np.clip(np.round(y * 32768), -32768, 32767)
    target.write(y.astype(DTYPES[encoding]).tobytes())
    target.flush()
    return len(y)
