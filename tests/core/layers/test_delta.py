"""`delta-net`, `gated-delta-net`, `delta-product`: what their transitions do, and how they relate."""

from __future__ import annotations

import pytest
import torch

from statewise.core.errors import ConfigError
from statewise.core.layers import build
from statewise.core.layers.delta_parts import Decay, DeltaState


def transition(layer, x_t):
    """The matrix that one step applies to a state, column by column, apart from what it writes."""
    heads = layer.delta
    zero = layer.initial_state(heads.keys)
    basis = (
        torch.eye(heads.keys, dtype=x_t.dtype).view(heads.keys, 1, heads.keys, 1).expand_as(zero.s).clone()
    )
    x_t = x_t.expand(heads.keys, -1)
    moved = layer.step(x_t, DeltaState(basis, zero.inputs))[1].s - layer.step(x_t, zero)[1].s
    return moved[:, 0, :, 0].T


def strong(layer, x_t):
    """In float64, strengths at their bound for the input x_t and keys so long that their norm becomes 1."""
    layer.double()
    with torch.no_grad():
        layer.delta.maps.weight.mul_(1e4)
        layer.delta.strengths.weight.copy_(1e3 * torch.sign(x_t).expand_as(layer.delta.strengths.weight))
    return layer


@pytest.mark.parametrize("negative", [False, True])
@torch.no_grad()
def test_one_step_projects_or_reflects(negative):
    torch.manual_seed(0)
    x_t = torch.randn(1, 5, dtype=torch.float64)
    a = transition(strong(build("delta-net", d_model=5, d_key=4, negative=negative), x_t), x_t)
    wanted = [-1.0, 1.0, 1.0, 1.0] if negative else [0.0, 1.0, 1.0, 1.0]
    torch.testing.assert_close(
        torch.linalg.eigvalsh(a), torch.tensor(wanted, dtype=torch.float64), atol=1e-6, rtol=0
    )


@torch.no_grad()
def test_two_householders_rotate():
    torch.manual_seed(1)
    x_t = torch.randn(1, 5, dtype=torch.float64)
    a = transition(strong(build("delta-product", d_model=5, d_key=8, householders=2), x_t), x_t)
    torch.testing.assert_close(a.T @ a, torch.eye(8, dtype=torch.float64), atol=1e-6, rtol=0)
    assert float(torch.linalg.det(a)) == pytest.approx(1.0, abs=1e-6)
    turns = torch.linalg.eigvals(a)
    assert float(turns.imag.abs().max()) > 1e-2  # a turn by an angle, which one reflection cannot be


@torch.no_grad()
def test_decay_shrinks_the_transition():
    torch.manual_seed(0)
    x_t = torch.randn(1, 5, dtype=torch.float64)
    layer = build("gated-delta-net", d_model=5, d_key=4, d_value=2).double()
    a = transition(layer, x_t)
    largest = torch.linalg.eigvalsh((a + a.T) / 2).max()
    torch.testing.assert_close(largest, layer.decay(x_t)[0, 0].exp(), atol=1e-5, rtol=0)


def test_one_householder_with_forgetting_is_gated_delta_net():
    torch.manual_seed(0)
    settings = {"d_model": 6, "heads": 2, "d_key": 3, "d_value": 4}
    product = build("delta-product", householders=1, negative=False, forget=True, **settings)
    gated = build("gated-delta-net", **settings)
    gated.load_state_dict(product.state_dict())
    x = torch.randn(2, 9, 6)
    torch.testing.assert_close(product(x)[0], gated(x)[0], rtol=0, atol=0)


@torch.no_grad()
def test_decays_start_with_short_and_long_memories():
    torch.manual_seed(0)
    g = Decay(8, 512)(torch.zeros(1, 8))
    assert float(g.max()) > -0.05
    assert -1.6 <= float(g.min()) < -0.5


@torch.no_grad()
def test_a_pair_that_comes_back_is_replaced_not_added():
    """At beta = 1 a key that comes back holds its last value alone, whatever it held before."""
    torch.manual_seed(0)
    x_t = torch.randn(1, 5, dtype=torch.float64)
    layer = strong(build("delta-net", d_model=5, d_key=4, taps=1), x_t)
    _, once = layer.step(x_t, layer.initial_state(1))
    _, twice = layer.step(x_t, once)
    torch.testing.assert_close(twice.s, once.s, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["delta-net", "gated-delta-net", "delta-product"])
@pytest.mark.parametrize("field", ["d_model", "heads", "d_key", "d_value", "taps"])
def test_sizes_are_checked(name, field):
    with pytest.raises(ConfigError, match=field):
        build(name, **{"d_model": 4, field: 0})
