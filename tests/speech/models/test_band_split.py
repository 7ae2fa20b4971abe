"""band-split: bands mapped together are bands mapped one by one, no look-ahead, gradients, levels."""

from __future__ import annotations

import pytest
import torch

from statewise.core.errors import ConfigError
from statewise.speech.models.band_split import BandSplit, BandSplitConfig, PerBand

SMALL = BandSplitConfig(bands=((2, 2), (1, 4)), hop=8, width=6, wide=5, depth=2, memory=4)


def model(config: BandSplitConfig = SMALL) -> BandSplit:
    torch.manual_seed(0)
    network = BandSplit(config)
    with torch.no_grad():  # away from the filter that lets everything through
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def spectrum(frames: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, frames, SMALL.hop + 1, 2, generator=torch.Generator().manual_seed(1))


def test_bands_are_mapped_as_if_one_by_one():
    torch.manual_seed(0)
    layer = PerBand([(3, 4, 5), (2, 6, 5)])
    parts = [torch.randn(2, 7, 3, 4), torch.randn(2, 7, 2, 6)]
    for x, y, weight, bias in zip(parts, layer(parts), layer.weights, layer.biases, strict=True):
        for band in range(x.shape[2]):
            torch.testing.assert_close(y[:, :, band], x[:, :, band] @ weight[band] + bias[band])


def test_frame_by_frame_equals_all_at_once():
    network, x = model(), spectrum(9)
    with torch.no_grad():
        whole, last = network(x)
        state, frames = network.initial_state(2), []
        for frame in x.split(1, 1):
            y, state = network(frame, state)
            frames.append(y)
    torch.testing.assert_close(torch.cat(frames, 1), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(state.level, last.level)


def test_the_future_changes_nothing():
    network, x = model(), spectrum(9)
    other = x.clone()
    other[:, 5:] += 1.0
    with torch.no_grad():
        before, after = network(x)[0], network(other)[0]
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_twice_as_loud_comes_out_twice_as_loud():
    network, x = model(), spectrum(6)
    with torch.no_grad():
        soft, loud = network(x)[0], network(2 * x)[0]
    torch.testing.assert_close(loud, 2 * soft, rtol=1e-4, atol=1e-4)


def test_gradients():
    network, x = model().double(), spectrum(5, 1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: network(one)[0], (x,), atol=1e-6)


def test_every_parameter_takes_part():
    network = model()
    network(spectrum(4))[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_bands_have_to_cover_the_spectrum():
    with pytest.raises(ConfigError, match="256 bins"):
        BandSplitConfig(bands=((8, 4),))
