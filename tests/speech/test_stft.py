"""The transform gives back what it was given, for any length and any cut into blocks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statewise.speech.stft import STFT


@pytest.mark.parametrize("samples", [1, 319, 320, 639, 640, 641, 16_000, 16_001])
def test_identity_mask_reconstructs_every_length(samples: int):
    stft = STFT(320)
    x = torch.rand(2, samples) * 2 - 1
    spectrum = stft.spectrum(x)
    assert spectrum.shape == (2, stft.frames(samples), 321, 2)
    y = stft.signal(spectrum, samples)
    assert y.shape == x.shape
    assert (y - x).abs().max() < 1e-6


@settings(max_examples=25)
@given(hop=st.integers(2, 40), blocks=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_blocks_of_any_size_are_the_whole_one_hop_late(hop: int, blocks: list[int]):
    stft = STFT(hop)
    x = torch.randn(1, hop * sum(blocks), generator=torch.Generator().manual_seed(hop))
    state, parts = stft.initial_state(1), []
    for count, piece in zip(blocks, x.split([hop * n for n in blocks], dim=1), strict=True):
        spectrum, block = stft.analyse(piece, state.block)
        y, overlap = stft.synthesise(spectrum, state.overlap)
        assert y.shape == (1, hop * count)
        state = type(state)(block, overlap)
        parts.append(y)
    late = torch.cat(parts, 1)
    assert late[:, :hop].abs().max() < 1e-6
    if x.shape[1] > hop:
        assert (late[:, hop:] - x[:, :-hop]).abs().max() < 1e-5


def test_spectrum_is_the_windowed_transform_of_two_blocks():
    stft = STFT(8)
    x = torch.randn(1, 24)
    padded = torch.cat([torch.zeros(1, 8), x, torch.zeros(1, 8)], 1)
    window = torch.hann_window(16, periodic=True).sqrt()
    expected = torch.stack([torch.fft.rfft(padded[0, 8 * t : 8 * t + 16] * window) for t in range(4)])
    assert torch.allclose(torch.view_as_complex(stft.spectrum(x)[0]), expected, atol=1e-5)
