"""Chimera and the pLSTMs against double loops over their equations, and the size that the paper gives."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from statewise.core.layers import build, plstm2d
from statewise.core.ops import use_backend


@pytest.mark.parametrize("coupling", ["bounded", "zoh", "none"])
@torch.no_grad()
def test_chimera_equals_the_double_loop(coupling) -> None:
    layer = build("chimera2d", d_model=2, variates=4, d_state=3, coupling=coupling).double()
    direction = layer.directions[0]
    u = torch.randn(2, 5, 4, 2, dtype=torch.float64)
    terms = direction.terms(u)
    (a1, a2, a3, a4), (u1, u2) = terms.gates, terms.writes
    start = torch.randn(2, 2, 4, 2, 3, dtype=torch.float64)
    h1, h2 = torch.zeros(
        2, 2, 6, 5, 2, 3, dtype=torch.float64
    )  # index 0 of time and variates: before the grid
    h1[:, 0, 1:], h2[:, 0, 1:] = start
    for t in range(5):
        for v in range(4):
            before, above = (slice(None), t, v + 1), (slice(None), t + 1, v)
            here = slice(None), t, v
            h1[:, t + 1, v + 1] = a1[here] * h1[before] + a2[here] * h2[before] + u1[here]
            h2[:, t + 1, v + 1] = a3[here] * h1[above] + a4[here] * h2[above] + u2[here]
    with use_backend("portable"):
        found = direction.grid(terms, *start, None)
    torch.testing.assert_close(found, (h1[:, 1:, 1:], h2[:, 1:, 1:]), rtol=0, atol=1e-12)


@torch.no_grad()
def test_chimera_with_bounded_coupling_does_not_grow() -> None:
    layer = build("chimera2d", d_model=1, variates=30, d_state=2, dt_min=1e-3, dt_max=1e-3)
    terms = layer.directions[0].terms(torch.randn(1, 30, 30, 1))
    a1, a2, a3, a4 = terms.gates
    assert float((a1.abs() + a2.abs()).max()) <= 1 + 1e-6
    assert float((a3.abs() + a4.abs()).max()) <= 1 + 1e-6


def test_chimera_is_causal_over_time_and_sees_all_variates() -> None:
    layer = build("chimera2d", d_model=2, variates=3)
    x = torch.randn(1, 6, 3, 2, requires_grad=True)
    with use_backend("portable"):
        (grad,) = torch.autograd.grad(layer(x)[0][0, 3, 1].sum(), x)
    assert bool((grad[0, :4] != 0).any(-1).all())
    assert not bool(grad[0, 4:].any())


def test_plstm_equals_the_loop() -> None:
    layer = build("plstm", d_model=6, heads=2).double()
    with torch.no_grad():
        for gate in (layer.source, layer.mark, layer.transition):
            gate.weight.normal_()
            gate.bias.normal_()
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    q, k, v = layer.maps.inputs(x).view(2, 7, 3, 2, 3).unbind(2)
    s, m = torch.sigmoid(layer.source(x)), torch.sigmoid(layer.mark(x))
    t, direct = torch.tanh(5 * layer.transition(x)), torch.sigmoid(layer.maps.direct)
    edge, outputs = torch.zeros(2, 2, 3, 3, dtype=torch.float64), []
    for n in range(7):
        read = m[:, n, :, None] * torch.einsum("bhk,bhkv->bhv", q[:, n], edge)
        own = direct[:, None] * (q[:, n] * k[:, n]).sum(-1, keepdim=True) * v[:, n]
        outputs.append((read + own) / 3**0.5)
        write = s[:, n, :, None, None] * k[:, n, :, :, None] * v[:, n, :, None, :]
        edge = t[:, n, :, None, None] * edge + write
    o = torch.stack(outputs, 1)
    expected = layer.maps.out((o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt()).flatten(2))
    with use_backend("portable"):
        y, state = layer(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.C, edge, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", ["pairs", "scan"])
@pytest.mark.parametrize(("mode", "parametrisation"), [("P", "paper"), ("P", "official"), ("D", "paper")])
def test_plstm2d_equals_the_double_loop(mode, parametrisation, form, monkeypatch) -> None:
    monkeypatch.setattr(plstm2d, "cheaper_form", lambda nodes, width, **facts: form)
    layer = build("plstm2d", d_model=8, heads=1, mode=mode, parametrisation=parametrisation).double()
    with torch.no_grad():
        for parameter in layer.gates.parameters():
            parameter.normal_()
    x = torch.randn(1, 3, 4, 8, dtype=torch.float64)
    q, k, v = (part[0, :, :, 0] for part in layer.maps.inputs(x).view(1, 3, 4, 3, 1, 8).unbind(3))
    expected = torch.sigmoid(layer.maps.direct) * (q * k).sum(-1, keepdim=True) * v
    for orientation, (reversed_i, reversed_j) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        (xx, xy, yx, yy), (s_x, s_y), (m_x, m_y) = (
            [gate[0, :, :, orientation, 0] for gate in group] for group in layer.gates(x)
        )
        along, across = {}, {}
        none = torch.zeros(8, 8, dtype=torch.float64)
        for i in range(2, -1, -1) if reversed_i else range(3):
            for j in range(3, -1, -1) if reversed_j else range(4):
                c_x = along.get((i + (1 if reversed_i else -1), j), none)
                c_y = across.get((i, j + (1 if reversed_j else -1)), none)
                expected[i, j] += q[i, j] @ (m_x[i, j] * c_x + m_y[i, j] * c_y)
                write = torch.outer(k[i, j], v[i, j])
                along[i, j] = xx[i, j] * c_x + yx[i, j] * c_y + s_x[i, j] * write
                across[i, j] = xy[i, j] * c_x + yy[i, j] * c_y + s_y[i, j] * write
    o = expected / 8**0.5
    wanted = layer.maps.out(o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    with use_backend("portable"):
        y, _ = layer(x)
    torch.testing.assert_close(y[0], wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("mode", ["P", "D"])
def test_plstm2d_has_the_same_gradients_in_both_forms(mode, monkeypatch) -> None:
    layer = build("plstm2d", d_model=16, heads=2, mode=mode).double()
    with torch.no_grad():
        for parameter in layer.gates.parameters():
            parameter.normal_()
    x = torch.randn(2, 3, 5, 16, dtype=torch.float64, requires_grad=True)
    found = []
    for form in ("pairs", "scan"):
        monkeypatch.setattr(plstm2d, "cheaper_form", lambda nodes, width, form=form, **facts: form)
        leaves = [x, *layer.parameters()]
        found.append(torch.autograd.grad(layer(x)[0].square().sum(), leaves))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("compiled", "gradients", "most"),
    [(True, False, 96), (True, True, 160), (False, False, 512), (False, True, 512)],
)
def test_plstm2d_takes_the_form_that_is_cheaper(compiled: bool, gradients: bool, most: int) -> None:
    chosen = [
        plstm2d.cheaper_form(nodes, 16, compiled=compiled, gradients=gradients)
        for nodes in (1, most, most + 1)
    ]
    assert chosen == ["pairs", "pairs", "scan"]


@torch.no_grad()
def test_plstm2d_official_is_one_less_the_product() -> None:
    layer = build("plstm2d", d_model=8, heads=2, parametrisation="official")
    for parameter in layer.gates.parameters():
        parameter.normal_()
    edges = layer.gates(torch.randn(1, 2, 3, 8))
    xx, xy, yx, yy = edges.transitions
    torch.testing.assert_close(xx + xy, torch.ones_like(xx))
    torch.testing.assert_close(yx + yy, torch.ones_like(xx))
    torch.testing.assert_close(sum(edges.sources), torch.ones_like(xx))


@torch.no_grad()
def test_plstm2d_spreads_no_more_than_its_transition() -> None:
    layer = build("plstm2d", d_model=16, heads=2)
    for parameter in layer.gates.parameters():
        parameter.normal_()
    xx, xy, yx, yy = layer.gates(torch.randn(2, 5, 5, 16)).transitions
    assert float((xx.abs() + xy.abs()).max()) <= 1 + 1e-6
    assert float((yx.abs() + yy.abs()).max()) <= 1 + 1e-6


def test_plstm2d_has_as_many_parameters_as_the_paper_tiny_model_needs() -> None:
    counts = [
        sum(parameter.numel() for parameter in build("plstm2d", d_model=192, heads=3, mode=mode).parameters())
        for mode in "PD"
    ]
    patches, positions, head = 16 * 16 * 3 * 192 + 192, 14 * 14 * 192, 4 * 192 * 1000 + 1000
    mlp = 2 * 4 * 192 * 192 + 4 * 192 + 192
    assert patches + positions + head + 192 + 6 * sum(counts) + 12 * (2 * 192 + mlp) == 6_314_404


def test_companion_is_the_recurrence_written_out():
    torch.manual_seed(0)
    layer = build("chimera2d-companion", d_model=2, variates=4, d_inner=3, d_state=3).double()
    x = torch.randn(2, 5, 4, 2, dtype=torch.float64)
    u, gate = layer.inputs(x).chunk(2, -1)
    u = F.silu(u)
    z = layer.D * u
    for number, direction in enumerate(layer.directions):
        seen = u.flip(-2) if number else u
        read = companion_loop(direction, seen)
        z = z + (read.flip(-2) if number else read)
    torch.testing.assert_close(layer(x)[0], layer.out(F.silu(gate) * z), rtol=0, atol=1e-12)


def companion_loop(direction, u):
    """C1 h1 + C2 h2 of one direction, a variate and a step at a time."""
    (batch, length, variates, width), states = u.shape, direction.B.shape[-1]
    p = direction.columns / direction.columns.abs().sum(-1, keepdim=True).clamp(min=1)
    S = torch.zeros(2, width, states, states, dtype=u.dtype)
    S[..., range(1, states), range(states - 1)] = 1
    S[..., -1] += p
    m, a4 = torch.sigmoid(direction.share), torch.exp(-torch.exp(direction.rate))
    a3 = (1 - a4) * torch.tanh(direction.mix)
    h1 = h2 = [torch.zeros(batch, width, states, dtype=u.dtype)] * variates
    outputs = []
    for t in range(length):
        writes = u[:, t, :, None, :, None] * direction.B
        new1, new2 = [], []
        for v in range(variates):
            carried = (m * S[0]) @ h1[v][..., None] + ((1 - m) * S[1]) @ h2[v][..., None]
            new1.append(carried.squeeze(-1) + writes[:, v, 0])
            above = a3 * new1[v - 1] + a4 * new2[v - 1] if v else 0.0
            new2.append(above + writes[:, v, 1])
        h1, h2 = new1, new2
        c1, c2 = direction.C
        outputs.append(torch.stack([(c1 * a + c2 * b).sum(-1) for a, b in zip(h1, h2, strict=True)], 1))
    return torch.stack(outputs, 1)


def test_companion_holds_an_autoregression():
    """One channel whose column holds the coefficients continues the series that they describe."""
    layer = build("chimera2d-companion", d_model=1, variates=1, d_state=3, both_ways=False).double()
    direction, coefficients = layer.directions[0], torch.tensor([0.2, -0.3, 0.4], dtype=torch.float64)
    with torch.no_grad():
        direction.columns[0, 0] = coefficients.flip(0)
        direction.share.fill_(40)  # m = 1
        direction.B[0, 0] = torch.tensor([0.0, 0.0, 1.0])
        maps = direction.maps(torch.float64)
    h1 = h2 = torch.zeros(1, 1, 1, 3, dtype=torch.float64)
    series, impulse = [0.0, 0.0, 0.0], torch.ones(1, 1, 1, dtype=torch.float64)
    for t in range(12):
        h1, h2 = direction.advance(maps, direction.writes(impulse * (t == 0), maps), h1, h2 * 0)
        last = series[-3:]
        series.append(sum(float(c) * y for c, y in zip(coefficients, reversed(last), strict=True)) + (t == 0))
        assert h1[0, 0, 0, -1].item() == pytest.approx(series[-1], abs=1e-12)
