"""`mamba`, `mamba2`, `mamba3` and `hydra` against their equations, loops and a third implementation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from statewise.core.errors import ConfigError
from statewise.core.layers import build


def noisy(name, **settings):
    torch.manual_seed(0)
    layer = build(name, **settings).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


@torch.no_grad()
def test_mamba_agrees_with_mambapy():
    mamba = pytest.importorskip("mambapy.mamba")
    theirs = mamba.MambaBlock(mamba.MambaConfig(d_model=6, n_layers=1, d_state=5, expand_factor=2, d_conv=4))
    ours = build("mamba", d_model=6, d_state=5)
    weights = theirs.state_dict()
    names = {
        "inputs.weight": "in_proj.weight",
        "conv.bias": "conv1d.bias",
        "maps.weight": "x_proj.weight",
        "dt_weight": "dt_proj.weight",
        "dt_bias": "dt_proj.bias",
        "A_log": "A_log",
        "D": "D",
        "out.weight": "out_proj.weight",
    }
    state = {name: weights.pop(theirs_name) for name, theirs_name in names.items()}
    state["conv.weight"] = weights.pop("conv1d.weight").squeeze(1).T
    assert not weights
    ours.load_state_dict(state)
    x = torch.randn(2, 19, 6)
    torch.testing.assert_close(ours(x)[0], theirs(x), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_small_step_keeps_and_a_large_one_replaces():
    layer = noisy("mamba", d_model=4, d_state=3, taps=1)
    layer.maps.weight[: layer.sizes[0]] = 0
    x, state = torch.randn(1, 4, dtype=torch.float64), layer.initial_state(1, dtype=torch.float64)
    full = state._replace(h=torch.ones_like(state.h))
    layer.dt_bias.fill_(-40)
    torch.testing.assert_close(layer.step(x, full)[1].h, full.h)
    layer.dt_bias.fill_(1e3)
    torch.testing.assert_close(layer.step(x, full)[1].h, layer.step(x, state)[1].h)


@torch.no_grad()
def test_mamba2_with_one_state_of_each_head_is_a_gated_average():
    """With B = C = 1 and D = 0 every channel is the scalar recurrence h = exp(delta A) h + delta x'."""
    layer = noisy("mamba2", d_model=4, d_state=1, d_head=4, taps=1)
    layer.D.zero_()
    x = torch.randn(2, 9, 4, dtype=torch.float64)
    z, mixed, d = layer.inputs(x).split(layer.sizes, -1)
    value, key, query = layer._split(layer.conv.weight[0] * mixed + layer.conv.bias)
    delta = F.softplus(d + layer.dt_bias)
    h, outputs = torch.zeros(2, 2, 4, dtype=torch.float64), []
    for t in range(9):
        h = torch.exp(-layer.A_log.exp() * delta[:, t]).unsqueeze(-1) * h
        h = h + delta[:, t].unsqueeze(-1) * value[:, t] * key[:, t]
        outputs.append(h * query[:, t])
    o = torch.stack(outputs, 1).flatten(-2)
    torch.testing.assert_close(layer(x)[0], layer.out(layer.norm(o * F.silu(z))))


@pytest.mark.parametrize("rank", [1, 2])
@torch.no_grad()
def test_mamba3_is_a_trapezoid_in_a_rotating_frame(rank):
    """The same outputs from states that do not rotate with the keys, but are rotated themselves each step."""
    layer = noisy("mamba3", d_model=2, d_state=4, d_head=4, rank=rank, rotated=1.0)
    x = torch.randn(3, 11, 2, dtype=torch.float64)
    part = layer._inputs(x)
    s = torch.zeros(3, 1, 2, 4, dtype=torch.complex128)  # features paired as complex numbers
    before, outputs = torch.zeros_like(s), []
    for t in range(11):
        key, query = (torch.complex(*rows[:, t].chunk(2, -1)) for rows in (part.key, part.query))
        turned = torch.exp(1j * part.turn[:, t]).unsqueeze(-1)
        decay, now, late = (rate[:, t, :, None, None] for rate in (part.decay, part.now, part.late))
        write = key.mT @ part.value[:, t].to(key.dtype)
        # turning the frame by -phi instead of the keys by phi
        s = torch.exp(decay) * (s + late * before) / turned + now * write
        before = write
        outputs.append((query.conj() @ s).real)
    wanted = layer._read(torch.stack(outputs, 1), part, x)
    torch.testing.assert_close(layer(x)[0], wanted)


@torch.no_grad()
def test_mamba3_counts_modulo_two():
    """A turn by pi per one: the sign of what is read is the parity of the ones so far."""
    layer = build("mamba3", d_model=1, d_state=2, expand=1, d_head=1, rotated=1.0).double()
    layer.inputs.weight.zero_()
    layer.inputs.weight[-1] = 50.0  # theta: tanh is 1 for a one, 0 for a zero
    layer.dt_bias.fill_(math.log(math.expm1(1.0)))  # delta = 1
    bits = torch.tensor([1, 0, 1, 1, 0, 0, 1, 1, 1, 0], dtype=torch.float64)
    angle = layer(bits.view(1, -1, 1))[1].angle
    assert torch.cos(angle).item() == pytest.approx((-1) ** int(bits.sum()))


@pytest.mark.parametrize("rate", [1e-4, 0.01, 1.0, 3.0])
@torch.no_grad()
def test_mamba3_starts_at_the_rate_that_is_asked_for(rate):
    layer = build("mamba3", d_model=2, d_state=2, d_head=2, rate=rate, dt_min=0.5, dt_max=0.5).double()
    layer.inputs.weight.zero_()
    decay = layer._inputs(torch.zeros(1, 2, dtype=torch.float64)).decay
    torch.testing.assert_close(decay, torch.full_like(decay, -0.5 * rate), rtol=1e-6, atol=0)


@torch.no_grad()
def test_mamba3_keeps_its_angle_over_many_turns():
    layer = build("mamba3", d_model=2, d_state=2, d_head=2, rotated=1.0)
    turn = torch.full((1, 20_000, layer.heads, 1), 1.234567)
    angles = layer._angles(turn, torch.zeros(1, layer.heads, 1), None)
    steps = torch.arange(1, 20_001, dtype=torch.float64).view(1, -1, 1, 1)
    wanted = torch.remainder(steps * float(turn[0, 0, 0, 0]), 2 * math.pi).expand_as(angles)
    torch.testing.assert_close(angles.double(), wanted, rtol=0, atol=1e-6)


@torch.no_grad()
def test_hydra_is_a_quasiseparable_matrix():
    layer = noisy("hydra", d_model=2, d_state=3, d_head=4, reach=0)
    x, length, n = torch.randn(1, 8, 2, dtype=torch.float64), 8, 3
    z, mixed, d = layer.inputs(x).split(layer.sizes, -1)
    mixed = F.silu(layer.conv_weight[0] * mixed + layer.conv_bias)
    value, *maps = mixed.split((4, n, n, n, n), -1)
    delta = F.softplus(d.view(8, 2, 1) + layer.dt_bias)[..., 0]
    matrix = torch.diag((layer.diagonal(value) + layer.D)[0, :, 0])
    for i in range(length):
        for j in range(length):
            # the runs are shifted: i reads what its neighbour on the side of j has read of j
            key, query, near, rate = (
                (*maps[:2], i - 1, delta[:, 0]) if j < i else (*maps[2:], i + 1, delta[:, 1])
            )
            if i != j:
                between = rate[j + 1 : near + 1] if j < i else rate[near:j]
                decay = torch.exp(-layer.A_log.exp() * between.sum())[0]
                matrix[i, j] = decay * rate[j] * (query[0, near] @ key[0, j])
    wanted = layer.out(layer.norm((matrix @ value[0]).unsqueeze(0)) * F.silu(z))
    torch.testing.assert_close(layer(x)[0], wanted)


@torch.no_grad()
def test_hydra_reads_both_ways_and_no_further_than_its_sequence():
    layer = noisy("hydra", d_model=2, d_state=3, d_head=2)
    x, reset = torch.randn(1, 9, 2, dtype=torch.float64), torch.zeros(1, 9, dtype=torch.bool)
    reset[0, 5] = True
    y, changed = layer(x, reset=reset)[0], x.clone()
    changed[0, 2] += 1
    moved = (layer(changed, reset=reset)[0] - y).abs().sum(-1)[0] > 0
    assert moved.tolist() == [True] * 5 + [False] * 4


@pytest.mark.parametrize(
    ("name", "settings", "field"),
    [
        ("mamba", {"dt_rank": 0}, "dt_rank"),
        ("mamba2", {"d_head": 3}, "d_head"),
        ("mamba2", {"d_head": 4, "groups": 3}, "groups"),
        ("mamba3", {"rotated": 0.0}, "rotated"),
        ("hydra", {"reach": -1}, "reach"),
    ],
)
def test_settings_out_of_bounds_are_named(name, settings, field):
    with pytest.raises(ConfigError, match=field):
        build(name, d_model=4, **settings)


@pytest.mark.parametrize("name", ["mamba2", "mamba3", "hydra"])
@pytest.mark.parametrize(("width", "head"), [(64, 64), (24, 48), (37, 37), (50, 50)])
def test_heads_fit_any_width(name, width, head):
    assert build(name, d_model=width, d_state=4).heads == 2 * width // head
