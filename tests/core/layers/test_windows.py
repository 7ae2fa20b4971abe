"""Attention against a full softmax, FSMN against convolutions, ConvS5 against S5 on every pixel."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from statewise.core.errors import UserError
from statewise.core.layers import build
from statewise.core.ops import use_backend


@pytest.mark.parametrize("window", [1, 3, 5, 100])
@torch.no_grad()
def test_attention_is_a_softmax_over_the_window(window) -> None:
    layer = build("attention", d_model=8, heads=4, kv_heads=2, window=window, rotary_base=50.0).double()
    x = torch.randn(2, 11, 8, dtype=torch.float64)
    q = layer.query(x).view(2, 11, 4, 1, 2)
    k, v = (part(x).view(2, 11, 2, 1, 2).repeat_interleave(2, 2) for part in (layer.key, layer.value))
    turn = torch.exp(1j * torch.arange(11, dtype=torch.float64))[:, None, None]  # K = 2: one pair, rate 1
    q, k = (torch.view_as_complex(part) * turn for part in (q, k))
    scores = torch.einsum("bthi,bshi->bhts", q, k.conj()).real / math.sqrt(2)
    steps = torch.arange(11)
    distance = steps[:, None] - steps
    scores = scores.masked_fill((distance < 0) | (distance >= window), -math.inf)
    y = torch.einsum("bhts,bshk->bthk", scores.softmax(-1), v[:, :, :, 0]).flatten(2)
    torch.testing.assert_close(layer(x)[0], layer.out(y), rtol=0, atol=1e-12)


@torch.no_grad()
def test_attention_does_not_lose_precision_in_long_streams() -> None:
    layer = build("attention", d_model=8, heads=2, window=4)
    x = torch.randn(1, 4, 8)
    near, _ = layer(x)
    far, _ = layer(torch.cat([torch.randn(1, 3000, 8), x], 1), reset=torch.arange(3004)[None] == 3000)
    torch.testing.assert_close(far[:, -4:], near, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ahead", [0, 2])
@torch.no_grad()
def test_fsmn_is_a_dilated_convolution(ahead) -> None:
    layer = build("fsmn", d_model=3, d_hidden=5, look_back=4, look_ahead=ahead, stride=2).double()
    x = torch.randn(2, 12, 3, dtype=torch.float64)
    unit = layer.unit
    p = unit.project(torch.relu(unit.hidden(x)))
    # a from the farthest to the present, then c from the nearest to the farthest
    taps = torch.cat([unit.back, unit.ahead.flip(0)]).T[:, None]
    memory = F.conv1d(F.pad(p.mT, (6, 2 * ahead)), taps, groups=3, dilation=2).mT
    with use_backend("portable"):
        torch.testing.assert_close(layer(x)[0], p + memory, rtol=0, atol=1e-12)
    assert layer.latency == 2 * ahead
    assert layer.streaming == (ahead == 0)


@torch.no_grad()
def test_complex_fsmn_combines_its_units_as_a_product() -> None:
    layer = build("fsmn-complex", d_model=6, look_back=3).double()
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    re, im = x.chunk(2, -1)
    zeros = x.new_zeros(2, 2, 3)

    def run(unit, part):
        return unit(part, zeros, None, None)[0]

    with use_backend("portable"):
        y = layer(x)[0]
        real = run(layer.real, re) - run(layer.imaginary, im)
        imaginary = run(layer.real, im) + run(layer.imaginary, re)
    torch.testing.assert_close(y, torch.cat([real, imaginary], -1), rtol=0, atol=1e-13)
    assert sum(part.numel() for part in build("fsmn-complex", d_model=256).parameters()) == 70_912


def test_complex_fsmn_needs_pairs() -> None:
    with pytest.raises(UserError, match="d_model"):
        build("fsmn-complex", d_model=5)


@torch.no_grad()
def test_convs5_with_single_pixel_kernels_is_s5_on_every_pixel() -> None:
    video = build("convs5", d_model=3, height=2, width=4, d_state=6, kernel=1).double()
    point = build("s5", d_model=3, d_state=6).double()
    point.B.copy_(video.B[:, :, 0, 0].movedim(-1, 1))
    point.C.copy_(video.C[:, :, 0, 0])
    for name in ("Lambda", "D", "log_dt"):
        getattr(point, name).copy_(getattr(video, name))
    x = torch.randn(2, 5, 2, 4, 3, dtype=torch.float64)
    with use_backend("portable"):
        y, _ = video(x)
        expected, _ = point(x.permute(0, 2, 3, 1, 4).reshape(16, 5, 3))
    torch.testing.assert_close(y.permute(0, 2, 3, 1, 4).reshape(16, 5, 3), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_convs5_moves_by_its_kernels_and_refuses_other_frames() -> None:
    layer = build("convs5", d_model=1, height=7, width=7, d_state=4, kernel=3)
    x = torch.zeros(1, 2, 7, 7, 1)
    x[0, 0, 3, 3] = 1
    with use_backend("portable"):
        y, _ = layer(x)
        reached = (y[0, 1, :, :, 0] != 0).nonzero()
        assert reached.min() == 1
        assert reached.max() == 5
        with pytest.raises(UserError, match="7 x 7"):
            layer(torch.zeros(1, 2, 7, 6, 1))
