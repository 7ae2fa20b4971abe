"""`gla`, `retnet`, `hgrn2`, `lightnet` and `aaren` against the parallel forms of their equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from statewise.core.errors import ConfigError
from statewise.core.layers import build
from statewise.core.layers.log_sums import running_log_sum, total_log_sum
from statewise.core.layers.rotation import positions, rotate


def noisy(name, **settings):
    torch.manual_seed(0)
    layer = build(name, **settings).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def inputs(rows=2, length=11, width=4):
    return torch.randn(rows, length, width, dtype=torch.float64)


@torch.no_grad()
def test_gla_is_attention_with_the_decays_between():
    layer, x = noisy("gla", d_model=4, heads=2, d_key=3, temperature=0.5), inputs()
    q, k, v = layer._heads(x)
    sums = layer._decays(x).cumsum(1)
    between = torch.exp(sums.unsqueeze(2) - sums.unsqueeze(1))  # (B, i, j, H, K)
    scores = torch.einsum("bihk,bjhk,bijhk->bhij", q, k, between).tril() / math.sqrt(3)
    o = torch.einsum("bhij,bjhv->bihv", scores, v)
    torch.testing.assert_close(layer(x)[0], layer._read(o, x))


@torch.no_grad()
def test_retention_depends_on_distances_alone():
    """The parallel form: rotations and decays by the distance, whatever the positions."""
    layer, x = noisy("retnet", d_model=4, heads=2, d_key=4), inputs()
    parts = layer.maps(x).split(layer.sizes, -1)
    q, k, v = (part.unflatten(-1, (2, -1)) for part in parts)
    distance = torch.arange(11).unsqueeze(1) - torch.arange(11)
    angles = distance[..., None, None] * 10_000.0 ** -(torch.arange(2) / 2)
    turned = rotate(q.unsqueeze(2).expand(-1, -1, 11, -1, -1), angles)
    gamma = 1 - 2.0 ** -(5 + torch.arange(2))
    decay = (gamma.view(2, 1, 1).double() ** distance.clamp(min=0)).tril()
    o = torch.einsum("bijhk,bjhk,hij,bjhv->bihv", turned, k, decay, v) / 2
    torch.testing.assert_close(layer(x)[0], layer._read(o, x))
    shifted = layer.initial_state(2, dtype=torch.float64)
    shifted = shifted._replace(position=shifted.position + 1000)
    torch.testing.assert_close(layer(x, shifted)[0], layer(x)[0])


@torch.no_grad()
def test_positions_restart_at_resets_and_stop_at_ends():
    reset = torch.tensor([[False, True, False, False, True], [False] * 5])
    places, end = positions(torch.tensor([7, 3]), 5, reset, torch.tensor([3, 0]))
    assert places.tolist() == [[7, 0, 1, 2, 0], [3, 4, 5, 6, 7]]
    assert end.tolist() == [2, 3]


@torch.no_grad()
def test_hgrn2_is_a_mean_of_the_values():
    """With the key 1 - f every row of the state is a convex combination of the values, and so it stays."""
    layer, x = noisy("hgrn2", d_model=4, heads=2, d_key=3), inputs(length=200)
    _, _, v, _ = layer._heads(x)
    s = layer(x)[1].s
    low, high = (bound.unsqueeze(2) for bound in (v.amin(1).clamp(max=0), v.amax(1).clamp(min=0)))
    assert bool(((s >= low) & (s <= high)).all())


@torch.no_grad()
def test_hgrn2_forgets_no_faster_than_its_bound():
    layer, x = noisy("hgrn2", d_model=4, lower_bound=0.6), 100 * inputs()
    _, k, _, g = layer._heads(x)
    assert float(g.exp().min()) >= 0.6
    torch.testing.assert_close(k, 1 - g.exp())


@torch.no_grad()
def test_lightnet_holds_a_softmax_over_the_past_for_every_key():
    layer, x = noisy("lightnet", d_model=4, heads=2, d_key=3, rank=2), inputs()
    q, k, v = layer.heads(x)
    scores = k.permute(0, 2, 3, 1).unsqueeze(-2).expand(-1, -1, -1, 11, -1)  # (B, H, K, t, j)
    weights = scores.masked_fill(torch.ones(11, 11, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
    o = torch.einsum("bthk,bhktj,bjhv->bthv", q, weights, v)
    y, state = layer(x)
    torch.testing.assert_close(y, layer.read(o, x))
    torch.testing.assert_close(state.s, torch.einsum("bhkj,bjhv->bhkv", weights[..., -1, :], v))
    torch.testing.assert_close(state.z, k.logsumexp(1))


@pytest.mark.parametrize("spread", [1.0, 100.0])
@torch.no_grad()
def test_lightnet_stands_keys_of_any_size(spread):
    """Keys far apart give decays of exp(-1000) and more; float32 keeps up with float64."""
    layer, x = noisy("lightnet", d_model=4, heads=2, d_key=3, rank=2), inputs(length=300)
    layer.maps.weight[6:12] *= spread
    wanted, exact = layer(x)
    y, state = layer.float()(x.float())
    assert bool(torch.isfinite(y).all())
    tolerance = 2e-5 * spread
    torch.testing.assert_close(y.double(), wanted, rtol=0, atol=tolerance)
    torch.testing.assert_close(state.s.double(), exact.s, rtol=0, atol=tolerance)


@torch.no_grad()
def test_order_free_lightnet_does_not_see_the_order():
    layer, x = noisy("lightnet-order-free", d_model=4, heads=2, d_key=3, rank=2), inputs()
    order = torch.randperm(11)
    torch.testing.assert_close(layer(x[:, order])[0], layer(x)[0][:, order])
    q, k, v = layer.heads(x)
    memory = torch.einsum("bjhk,bjhv->bhkv", k.softmax(1), v)
    torch.testing.assert_close(layer(x)[0], layer.read(torch.einsum("bthk,bhkv->bthv", q, memory), x))


@torch.no_grad()
def test_the_last_state_of_lightnet_is_the_memory_of_the_order_free_form():
    causal = noisy("lightnet", d_model=4, heads=2, d_key=3, rank=2)
    free, x = build("lightnet-order-free", d_model=4, heads=2, d_key=3, rank=2).double(), inputs()
    free.load_state_dict(causal.state_dict())
    torch.testing.assert_close(causal(x)[0][:, -1], free(x)[0][:, -1])


def test_log_sums_restart_and_reach_over_their_sequence():
    k = (5 * inputs(width=3)).requires_grad_()
    reset = torch.zeros(2, 11, dtype=torch.bool)
    reset[0, [3, 7]] = True
    first = torch.tensor([[0.5, -torch.inf, 2.0]] * 2, dtype=torch.float64)
    z, totals = running_log_sum(k, first, reset), total_log_sum(k, reset, torch.tensor([9, 11]))
    for row, start, stop in ((0, 0, 3), (0, 3, 7), (0, 7, 11), (1, 0, 11)):
        part = k[row, start:stop]
        begun = first[row : row + 1] if start == 0 else torch.full_like(first[:1], -torch.inf)
        torch.testing.assert_close(z[row, start:stop], torch.cat([begun, part]).logcumsumexp(0)[1:])
        end = min(stop, 9) if row == 0 else stop
        wanted = k[row, start:end].logsumexp(0).expand(end - start, -1)
        torch.testing.assert_close(totals[row, start:end], wanted)
    assert torch.autograd.gradcheck(lambda k: running_log_sum(k, first, reset), k)


@torch.no_grad()
def test_aaren_is_softmax_attention_of_one_query():
    layer, x = noisy("aaren", d_model=4, heads=2, d_value=3), inputs()
    k, v = (part.unflatten(-1, (2, 3)).transpose(1, 2) for part in layer.maps(x).chunk(2, -1))
    q = layer.query.unsqueeze(1).expand(2, -1, 11, -1)
    o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(layer(x)[0], layer.out(o.transpose(1, 2).flatten(-2)))


@torch.no_grad()
def test_aaren_merges_states_of_parts():
    """The states of two halves add up to that of the whole: m is the greater, u and w are in its units."""
    layer, x = noisy("aaren", d_model=4, heads=2), inputs()
    (_, a), (_, b), (_, whole) = layer(x[:, :5]), layer(x[:, 5:]), layer(x)
    m = torch.maximum(a.m, b.m)
    left, right = torch.exp(a.m - m), torch.exp(b.m - m)
    torch.testing.assert_close(whole.m, m)
    torch.testing.assert_close(whole.u, left * a.u + right * b.u)
    torch.testing.assert_close(whole.w, left.unsqueeze(-1) * a.w + right.unsqueeze(-1) * b.w)


@pytest.mark.parametrize(
    ("name", "settings", "field"),
    [
        ("gla", {"temperature": 0.0}, "temperature"),
        ("gla", {"d_key": 0}, "d_key"),
        ("retnet", {"d_key": 3}, "d_key"),
        ("retnet", {"rotary_base": 1.0}, "rotary_base"),
        ("hgrn2", {"lower_bound": 1.0}, "lower_bound"),
        ("lightnet", {"rank": 0}, "rank"),
        ("aaren", {"d_value": 0}, "d_value"),
    ],
)
def test_settings_out_of_bounds_are_named(name, settings, field):
    with pytest.raises(ConfigError, match=field):
        build(name, d_model=4, **settings)
