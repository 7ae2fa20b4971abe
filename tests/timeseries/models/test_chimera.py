"""Chimera: the recurrence against a double loop and scipy's filter, its gradients, its bounds, its forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from statewise.core.errors import ConfigError
from statewise.core.layers.chimera2d import Chimera2DConfig, Direction, _Terms
from statewise.timeseries.models.chimera import Chimera, ChimeraConfig
from statewise.timeseries.models.chimera_forms import CompanionGrid, PooledGrid, _Companion

SHAPE = (1, 1)  # E, N


def random_terms(batch: int, steps: int, variates: int, *, shape: tuple[int, int] = (2, 3)) -> _Terms:
    """Gates of any size, writes and reads, (B, L, V, E, N) each."""
    size = (batch, steps, variates, *shape)
    draw = [torch.randn(size, dtype=torch.float64) for _ in range(6)]
    reads = [torch.randn(batch, steps, variates, 1, shape[1], dtype=torch.float64) for _ in range(2)]
    return _Terms((draw[0], draw[1], draw[2], draw[3]), (draw[4], draw[5]), (reads[0], reads[1]))


def double_loop(terms: _Terms, h1: Tensor, h2: Tensor) -> tuple[Tensor, Tensor]:
    """h1[v, t] and h2[v, t] node by node."""
    (a1, a2, a3, a4), (u1, u2) = terms.gates, terms.writes
    steps, variates = u1.shape[1:3]
    grid1, grid2 = torch.zeros_like(u1), torch.zeros_like(u2)
    for t in range(steps):
        for v in range(variates):
            before1 = grid1[:, t - 1, v] if t else h1[:, v]
            before2 = grid2[:, t - 1, v] if t else h2[:, v]
            grid1[:, t, v] = a1[:, t, v] * before1 + a2[:, t, v] * before2 + u1[:, t, v]
            grid2[:, t, v] = u2[:, t, v]
            if v:
                grid2[:, t, v] += a3[:, t, v] * grid1[:, t, v - 1] + a4[:, t, v] * grid2[:, t, v - 1]
    return grid1, grid2


def direction() -> Direction:
    return Direction(Chimera2DConfig(d_model=2, variates=1, d_state=3)).double()


@pytest.mark.parametrize("variates", [1, 2, 5])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_grid_equals_the_double_loop(variates: int, steps: int):
    torch.manual_seed(variates * 10 + steps)
    terms = random_terms(2, steps, variates)
    h1, h2 = (torch.randn(2, variates, 2, 3, dtype=torch.float64) for _ in range(2))
    expected = double_loop(terms, h1, h2)
    for seen, wanted in zip(direction().grid(terms, h1, h2, None), expected, strict=True):
        torch.testing.assert_close(seen, wanted, rtol=1e-12, atol=1e-12)


def test_one_variate_that_does_not_change_in_time_is_scipys_filter():
    a1, a2, b1, b2, c1, c2 = 0.9, -0.05, 0.7, 1.3, 0.4, -0.6
    x = np.random.default_rng(0).normal(size=200)

    def constant(value: float) -> Tensor:
        return torch.full((1, 200, 1, *SHAPE), value, dtype=torch.float64)

    u = torch.from_numpy(x).view(1, 200, 1, 1, 1)
    terms = _Terms((constant(a1), constant(a2), constant(0.3), constant(0.8)), (b1 * u, b2 * u), (u, u))
    zero = torch.zeros(1, 1, *SHAPE, dtype=torch.float64)
    h1, h2 = direction().grid(terms, zero, zero, None)
    y = (c1 * h1 + c2 * h2).flatten().numpy()
    # h2 = b2 x, h1 = a1 h1 + a2 b2 x[t-1] + b1 x[t]
    expected = c1 * lfilter([b1, a2 * b2], [1, -a1], x) + c2 * b2 * x
    np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)


def test_gradients_of_the_grid():
    torch.manual_seed(0)
    terms = random_terms(1, 3, 2, shape=(1, 2))
    h1, h2 = (torch.randn(1, 2, 1, 2, dtype=torch.float64) for _ in range(2))
    parts = [part.requires_grad_() for part in (*terms.gates, *terms.writes, h1, h2)]
    grid = direction().grid

    def run(*parts: Tensor) -> tuple[Tensor, Tensor]:
        return grid(_Terms(parts[:4], (parts[4], parts[5]), terms.reads), parts[6], parts[7], None)

    assert torch.autograd.gradcheck(run, parts)


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_free_steps_at_random_parameters_stay_bounded(seed: int):
    torch.manual_seed(seed)
    part = Direction(Chimera2DConfig(d_model=3, variates=6, d_state=4))
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.normal_(std=3.0)
        h1, h2 = torch.rand(2, 2, 6, 3, 4) * 2 - 1
        largest = max(h1.abs().max(), h2.abs().max())
        for _ in range(1000):
            terms = part.terms(5 * torch.randn(2, 6, 3))
            still = _Terms(terms.gates, tuple(torch.zeros_like(w) for w in terms.writes), terms.reads)
            h1, h2 = part.advance(still, h1, h2)
            assert max(h1.abs().max(), h2.abs().max()) <= largest * (1 + 1e-5)


def test_the_papers_coupling_can_grow_and_the_bounded_one_is_why_not():
    torch.manual_seed(0)
    zoh = Direction(Chimera2DConfig(d_model=3, variates=6, d_state=4, coupling="zoh"))
    with torch.no_grad():
        terms = zoh.terms(torch.randn(1, 6, 3))
        still = _Terms(terms.gates, tuple(torch.zeros_like(w) for w in terms.writes), terms.reads)
        h1 = h2 = torch.ones(1, 6, 3, 4)
        for _ in range(100):
            h1, h2 = zoh.advance(still, h1, h2)
    assert max(h1.max(), h2.max()) > 1e3


@torch.no_grad()
def test_companion_steps_equal_the_double_loop():
    torch.manual_seed(1)
    part = _Companion(2, 3).double()
    u = torch.randn(1, 6, 4, 2, dtype=torch.float64)
    state, outputs = None, []
    for t in range(6):
        z, state = part(u[:, t], state)
        outputs.append(z)
    a1, a2, a3, a4 = part.gates()
    h1, h2 = (torch.zeros(6, 4, 2, 3, dtype=torch.float64) for _ in range(2))
    for t in range(6):
        for v in range(4):
            own1, own2 = part.B[:, :] * u[0, t, v][:, None]
            if t:
                own1 = own1 + torch.einsum("enk,ek->en", a1, h1[t - 1, v])
                own1 = own1 + torch.einsum("enk,ek->en", a2, h2[t - 1, v])
            if v:
                own2 = own2 + a3 * h1[t, v - 1] + a4 * h2[t, v - 1]
            h1[t, v], h2[t, v] = own1, own2
    expected = (part.C[0] * h1 + part.C[1] * h2).sum(-1) + part.D * u[0]
    torch.testing.assert_close(torch.stack(outputs, 1)[0], expected, rtol=1e-10, atol=1e-12)


def test_companion_states_without_input_never_grow():
    torch.manual_seed(2)
    part = _Companion(3, 5)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.normal_(std=3.0)
        _, state = part(torch.randn(2, 4, 3), None)
        size = max(h.abs().sum(-1).max() for h in state)
        for _ in range(1000):
            _, state = part(torch.zeros(2, 4, 3), state)
            assert max(h.abs().sum(-1).max() for h in state) <= size * 4  # four kinds of elements in a chain


def test_pooled_forward_is_a_fold_of_steps():
    torch.manual_seed(3)
    grid = PooledGrid(4, 3).double()
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    y, last = grid(x)
    _, state = grid(x[:, :1])
    for t in range(1, 5):
        y_t, state = grid.step(x[:, t], state)
        torch.testing.assert_close(y_t, y[:, t], rtol=1e-10, atol=1e-12)
    for seen, wanted in zip(state, last, strict=True):
        torch.testing.assert_close(seen, wanted, rtol=1e-10, atol=1e-12)


def test_companion_forward_is_a_fold_of_steps():
    torch.manual_seed(4)
    grid = CompanionGrid(4, 3)
    x = torch.randn(2, 5, 3, 4)
    _, state = grid(x[:, :3])
    for t in (3, 4):
        y_t, state = grid.step(x[:, t], state)
        torch.testing.assert_close(y_t, grid(x[:, : t + 1])[0][:, -1])


def network(**settings: object) -> Chimera:
    torch.manual_seed(5)
    shape = {"lookback": 32, "horizon": 12, "variates": 4, "features": 2, "d_model": 6, "d_state": 2}
    model = Chimera(ChimeraConfig(**(shape | settings))).eval()  # pyright: ignore[reportArgumentType]
    for head in (model.trend, model.season):
        torch.nn.init.normal_(head.out.weight)
    return model


def test_pooled_variates_have_no_order_and_the_others_have():
    x = torch.randn(3, 32, 4, 3)
    order = torch.tensor([2, 0, 3, 1])
    for form, free in (("pooled", True), ("diagonal", False), ("companion", False)):
        model = network(form=form)
        moved = model(x[:, :, order])
        assert torch.allclose(moved, model(x)[:, order], atol=1e-4) == free, form


@pytest.mark.parametrize("form", ["diagonal", "companion", "pooled"])
def test_a_closed_loop_goes_on_to_any_horizon(form: str):
    x = torch.randn(2, 32, 4, 3)
    near = network(form=form, decoder="closed-loop", horizon=12)
    far = network(form=form, decoder="closed-loop", horizon=40)
    for model in (near, far):
        torch.nn.init.zeros_(model.highway.weight)
    far.load_state_dict({**near.state_dict(), "highway.weight": far.highway.weight})
    torch.testing.assert_close(far(x)[..., :12], near(x))
    assert far(x).shape == (2, 4, 40)


def test_forecasts_move_with_level_and_scale():
    model = network()
    x = torch.randn(2, 32, 4, 3, dtype=torch.float32)
    moved = torch.cat([x[..., :1] * 40 - 7, x[..., 1:]], dim=-1)
    torch.testing.assert_close(model(moved), model(x) * 40 - 7, rtol=1e-3, atol=1e-2)


def test_bounds_name_the_field():
    with pytest.raises(ConfigError, match="'d_state' is out of bounds"):
        ChimeraConfig(lookback=8, horizon=2, variates=1, d_state=0)
