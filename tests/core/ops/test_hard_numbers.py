"""The same hard cases for every recurrent operator: a reset at every step, one step, very long sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from statewise.core import ops
from statewise.core.ops import use_backend

B, L = 2, 5
LOG_DECAYS = (0.0, -1e-4, -5.0, -50.0)

every_backend = pytest.mark.parametrize("backend", ["portable", "cpu"])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def delta(q: Tensor, k: Tensor, v: Tensor, gates: Tensor, **given: Any) -> Any:
    return ops.gated_delta_rule(q, k, v, torch.sigmoid(gates[..., 0]), -gates[..., 1].abs(), **given)


def cell(name: str, gates: int) -> Callable[..., Any]:
    weight = draw(1, gates * 4, 4)
    return lambda x, **given: ops.rnn_scan(name, x, weight, **given)


WEIGHT, RATES = draw(3, 4), -draw(4, 3).abs()
CALLS: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "linear_scan": (ops.linear_scan, [(4,), (4,)]),
    "depthwise_conv": (lambda x, **given: ops.depthwise_conv(x, WEIGHT, **given), [(4,)]),
    "gated_linear_attention": (
        lambda q, k, v, g, **given: ops.gated_linear_attention(q, k, v, -g.abs(), **given),
        [(1, 3), (1, 3), (1, 4), (1, 3)],
    ),
    "gated_delta_rule": (delta, [(1, 3), (1, 3), (1, 4), (1, 2)]),
    "selective_scan": (
        lambda u, dt, b, c, **given: ops.selective_scan(u, dt, RATES, b, c, **given),
        [(4,), (4,), (3,), (3,)],
    ),
    "rnn_scan lstm": (cell("lstm", 4), [(16,)]),
    "rnn_scan gru": (cell("gru", 3), [(12,)]),
    "rnn_scan slstm": (cell("slstm", 4), [(16,)]),
    "prefix_softmax": (ops.prefix_softmax, [(1,), (1, 4)]),
    "scan2d": (ops.scan2d, [(3, 4), (3, 4), (3, 4)]),
    "scan2d_edges": (ops.scan2d_edges, [(3, 4, 2), (3, 2, 2)]),
}
"""Per operator a call with `reset`, and the shapes of its inputs behind (B, L)."""


def test_every_operator_with_kernels_is_here():
    compiled = {name for name, op in ops.OPERATORS.items() if "cpu" in op.backends}
    compiled -= {"path_weights", "scan2d_matrix"}  # of whole grids, without resets
    assert {name.split()[0] for name in CALLS} == compiled


@every_backend
@pytest.mark.parametrize("name", CALLS)
def test_a_reset_at_every_step_is_every_step_alone(name, backend):
    run, shapes = CALLS[name]
    inputs = [draw(B, L, *shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    steps = [x.detach().flatten(0, 1).unsqueeze(1).requires_grad_() for x in inputs]
    with use_backend(backend):
        whole = run(*inputs, reset=torch.ones(B, L, dtype=torch.bool))[0]
    with use_backend("reference"):
        alone = run(*steps)[0]
    torch.testing.assert_close(whole.flatten(0, 1).unsqueeze(1), alone, rtol=1e-9, atol=1e-9)
    for a, b in zip(
        torch.autograd.grad(whole.square().sum(), inputs),
        torch.autograd.grad(alone.square().sum(), steps),
        strict=True,
    ):
        torch.testing.assert_close(a.flatten(0, 1).unsqueeze(1), b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["lstm", pytest.param("slstm", marks=pytest.mark.slow)])
def test_twenty_thousand_steps_of_a_cell_stay_on_the_loop(name):
    """At strong recurrent weights; the float32 kernel is held against the float32 loop's own error."""
    x, weight = 2 * draw(1, 20_000, 8), draw(1, 8, 2)

    def run(backend: str, dtype: torch.dtype) -> Tensor:
        with use_backend(backend), torch.no_grad():
            return ops.rnn_scan(name, x.to(dtype), weight.to(dtype))[0].double()

    exact, single = run("cpu", torch.float64), run("cpu", torch.float32)
    loop = run("reference", torch.float32)
    assert torch.isfinite(single).all()
    error, own = (float((y - exact).norm() / exact.norm()) for y in (single, loop))
    assert error <= max(2e-6, 3 * own)


@pytest.mark.parametrize(
    ("log_decay", "backend"), [(-1e-4, "portable"), *((log_decay, "cpu") for log_decay in LOG_DECAYS)]
)
def test_a_column_of_twenty_thousand_rows_is_a_scan(log_decay, backend):
    x, decay = draw(1, 20_000, 1, 2), torch.tensor(log_decay, dtype=torch.float64).exp()
    down, unused = decay.expand(x.shape), torch.zeros((), dtype=torch.float64).expand(x.shape)
    exact, _ = ops.linear_scan(decay.expand(2), x[:, :, 0])
    with use_backend(backend):
        h, *_ = ops.scan2d(down, unused, x)
        transitions = torch.zeros(1, 20_000, 1, 4, 1, dtype=torch.float64)
        transitions[..., 0, :] = transitions[..., 3, :] = decay
        sources = torch.stack([x, x], 3).unsqueeze(4)
        edges, *_ = ops.scan2d_edges(transitions, sources)
    torch.testing.assert_close(h[:, :, 0], exact, rtol=1e-9, atol=1e-9)
    assert torch.isfinite(edges).all()
    torch.testing.assert_close(edges[:, :, 0, 0, 0], exact, rtol=1e-9, atol=1e-9)
