"""FRCRN: its size to the integer, its look-ahead, its stream, its layers against complex arithmetic."""

from __future__ import annotations

import pytest
import torch

from statewise.core.errors import ConfigError
from statewise.speech.models import build
from statewise.speech.models.complex_parts import (
    ComplexConv,
    ComplexMemory,
    ComplexTransposedConv,
    Gate,
    RunningMean,
)
from statewise.speech.models.enhancer import enhance
from statewise.speech.models.frcrn import FRCRN, FRCRNConfig


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def lively(model: FRCRN) -> FRCRN:
    """The model with the constant part of its mask taken away, so that outputs depend on the layers."""
    with torch.no_grad():
        for unet in model.unets:
            unet.final.real.bias.zero_()
            unet.final.imaginary.bias.zero_()
            unet.final.real.weight.fill_(5.0)
    return model.eval()


@pytest.fixture(scope="module")
def causal() -> FRCRN:
    torch.manual_seed(0)
    return lively(FRCRN(FRCRNConfig(channels=4, causal=True, compression=0.5, memory=10)))


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"channels": 128, "compatible": True}, 13_141_844),
        ({"channels": 128}, 12_824_276),  # without the parts that never receive a gradient
        ({"channels": 16, "compatible": True}, 228_860),
    ],
)
def test_number_of_parameters(settings: dict[str, object], parameters: int):
    assert count(FRCRN(FRCRNConfig(**settings))) == parameters


def test_every_parameter_of_the_clean_form_is_used():
    model = FRCRN(FRCRNConfig(channels=2))
    enhance(model, torch.randn(2, 3200)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.numel() and p.grad is None] == []


def test_compatible_form_leaves_four_parts_of_each_unet_unused():
    model = FRCRN(FRCRNConfig(channels=2, compatible=True))
    enhance(model, torch.randn(2, 3200)).square().sum().backward()
    dead = {name.split(".")[2] for name, p in model.named_parameters() if p.numel() and p.grad is None}
    assert dead == {"unused"}


@pytest.mark.parametrize("cut", [[1] * 12, [3, 9], [12], [5, 1, 6]])
def test_chunks_of_any_size_equal_the_whole(causal: FRCRN, cut: list[int]):
    x = 0.1 * torch.randn(2, 320 * 11)
    spectrum = causal.stft.spectrum(x)
    with torch.no_grad():
        whole, last = causal(spectrum)
        state, parts = None, []
        for piece in spectrum.split(cut, dim=1):
            y, state = causal(piece, state)
            parts.append(y)
    assert (torch.cat(parts, 1) - whole).abs().max() < 1e-5
    assert torch.allclose(state.level.mean, last.level.mean, atol=1e-5)
    assert (whole - spectrum).abs().max() > 0.1  # it does something


def test_causal_form_does_not_see_the_future(causal: FRCRN):
    x = 0.1 * torch.randn(1, 320 * 20)
    other = x.clone()
    other[:, 3200:] += torch.randn(1, 3200)
    with torch.no_grad():
        difference = (enhance(causal, x) - enhance(causal, other)).abs()[0]
    # a sample is part of two frames: it reaches back over what shares the first of them
    assert difference[: 3200 - 320].max() < 1e-6
    assert difference[3200:].max() > 1e-3
    assert causal.latency == 0
    assert causal.delay == pytest.approx(0.04)


@pytest.mark.parametrize("unets", [1, 2])
def test_default_form_looks_seven_frames_ahead_per_unet(unets: int):
    torch.manual_seed(0)
    model = lively(FRCRN(FRCRNConfig(channels=3, unets=unets))).double()
    for unet in model.unets:  # the gates average over the whole signal and hide what the layers see
        for gate in (*unet.skips, *unet.gates):
            gate.forward = lambda x, state: (x, state)
    model._input = lambda x, state: (x.permute(0, 3, 1, 2), None)
    x = torch.randn(1, 40, 321, 2, dtype=torch.float64)
    other = x.clone()
    other[:, 30:] += 1
    with torch.no_grad():
        changed = (model.mask(x, None)[0] - model.mask(other, None)[0]).abs().amax((0, 1, 3)) > 0
    assert int(changed.nonzero()[0]) == 30 - model.reach == 30 - 7 * unets


def test_level_of_the_input_does_not_matter(causal: FRCRN):
    x = 0.1 * torch.randn(1, 6400)
    with torch.no_grad():
        loud, quiet = enhance(causal, x), enhance(causal, 0.1 * x)
    assert (loud - 10 * quiet).abs().max() < 2e-3 * loud.abs().max()


def test_silence_stays_silence(causal: FRCRN):
    with torch.no_grad():
        y = enhance(causal, torch.zeros(1, 5000))
    assert torch.equal(y, torch.zeros(1, 5000))


def test_untrained_models_pass_their_input_on():
    for unets in (1, 2):
        model = FRCRN(FRCRNConfig(channels=2, causal=True, unets=unets)).eval()
        with torch.no_grad():
            for unet in model.unets:
                unet.final.real.weight.zero_()
                unet.final.imaginary.weight.zero_()
            x = 0.1 * torch.randn(1, 3200)
            assert (enhance(model, x) - x).abs().max() < 1e-5


def test_quirks_and_causality_exclude_each_other():
    with pytest.raises(ConfigError, match="compatible"):
        FRCRNConfig(causal=True, compatible=True)
    with pytest.raises(ConfigError, match="321 bins"):
        FRCRNConfig(hop=256)


def test_presets_build_and_names_are_suggested():
    assert count(build("frcrn-tiny-causal")[1]) < 300_000
    with pytest.raises(Exception, match="tiny-causal"):
        build("frcrn-tiny-casual")


def as_complex(x: torch.Tensor, dim: int = 1) -> torch.Tensor:
    re, im = x.chunk(2, dim)
    return torch.complex(re, im)


def test_block_convolution_is_the_complex_one():
    layer = ComplexConv(3, 2, (2, 5), stride=2).double()
    x = torch.randn(2, 6, 4, 11, dtype=torch.float64)
    a, b = layer.real, layer.imaginary
    weight = torch.complex(a.weight, b.weight)
    bias = torch.complex(a.bias - b.bias, a.bias + b.bias)
    expected = torch.nn.functional.conv2d(as_complex(x), weight, bias, (1, 2))
    assert torch.allclose(as_complex(layer(x)), expected, atol=1e-12)


def test_transposed_block_convolution_is_the_complex_one_for_several_sources():
    layer = ComplexTransposedConv([2, 3], 2, (2, 5), 2).double()
    sources = [torch.randn(1, 2 * c, 4, 6, dtype=torch.float64) for c in (2, 3)]
    a, b = layer.real, layer.imaginary
    x = torch.cat([as_complex(one) for one in sources], 1)
    bias = torch.complex(a.bias - b.bias, a.bias + b.bias)
    whole = torch.nn.functional.conv_transpose2d(x, torch.complex(a.weight, b.weight), bias, (1, 2))
    assert torch.allclose(as_complex(layer(torch.cat(sources, 1))), whole[:, :, 1:-1], atol=1e-12)


@pytest.mark.parametrize("rotates", [False, True])
def test_complex_memory_is_two_real_units(rotates: bool):
    layer = ComplexMemory(3, 5, 4, rotates=rotates).double()
    x = torch.randn(2, 9, 6, dtype=torch.float64)

    def unit(memory: torch.nn.Module, part: torch.Tensor) -> torch.Tensor:
        p = memory.project(torch.relu(memory.hidden(part)))
        padded = torch.cat([p.new_zeros(2, 3, 3), p], 1)
        filtered = sum(memory.back[k] * padded[:, k : k + 9] for k in range(4))
        return p + filtered + (part if rotates else 0)

    re, im = x.chunk(2, -1)
    real = unit(layer.real, re) - unit(layer.imaginary, im)
    imaginary = unit(layer.real, im) + unit(layer.imaginary, re)
    expected = torch.cat([real, imaginary], -1) + (0 if rotates else x)
    y, tail = layer(x)
    assert torch.allclose(y, expected, atol=1e-12)
    z, _ = layer(x[:, :4])
    assert torch.allclose(z, expected[:, :4], atol=1e-12)
    assert tail.shape == (2, 3, 12)


def test_running_mean_is_exact_first_and_forgets_later():
    mean = RunningMean(4)
    x = torch.randn(1, 20, 2)
    y, state = mean(x, mean.initial_state(1, 2, x))
    for t in range(4):
        assert torch.allclose(y[:, t], x[:, : t + 1].mean(1), atol=1e-6)
    expected = y[:, 18] + (x[:, 19] - y[:, 18]) / 4
    assert torch.allclose(y[:, 19], expected, atol=1e-6)
    assert torch.equal(state.seen, torch.tensor([[4.0]]))


def test_gate_scales_each_part_by_its_own_factor():
    gate = Gate(4, 2, None)
    x = torch.randn(1, 8, 5, 3)
    y, _ = gate(x, None)
    factors = y / x
    assert torch.allclose(factors, factors[:, :, :1, :1].expand_as(factors), atol=1e-4)
    re, im = factors[0, :, 0, 0].chunk(2)
    assert bool((re.abs() < 1).all() and (im > 0).all() and (im < 2).all())
