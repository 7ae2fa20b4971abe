"""Whole layers against other people's recurrences: fla's naive functions, scipy's systems, torch's layers.

The maps before and behind a recurrence are the layer's own; what lies between, and the state at the end, is
computed by the other implementation.
"""

from __future__ import annotations

import math
import warnings
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.signal import dlsim, lfilter
from torch import Tensor
from torch.nn import functional as F

from statewise.core.layers import build
from statewise.core.layers.contract import Layer
from statewise.core.ops.gated_delta_rule import unit

pytestmark = pytest.mark.filterwarnings("ignore:Flash Attention:ImportWarning")


def naive(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Triton is not supported", UserWarning)
        return pytest.importorskip(f"fla.ops.{name}.naive")


def noisy(name: str, **settings: object) -> Layer:
    layer = build(name, **settings)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer.eval()


def same(actual: Tensor, wanted: Tensor, tolerance: float = 2e-6) -> None:
    torch.testing.assert_close(actual, wanted, rtol=0, atol=tolerance * max(1.0, float(wanted.abs().max())))


def convolved(layer: Layer, x: Tensor) -> Tensor:
    """The short convolution of a layer, by torch's."""
    conv = layer.delta.conv if hasattr(layer, "delta") else layer.conv
    taps = conv.weight.shape[0]
    padded = F.pad(x.transpose(1, 2), (taps - 1, 0))
    return F.conv1d(padded, conv.weight.T.unsqueeze(1), conv.bias, groups=x.shape[-1]).transpose(1, 2)


X = torch.randn(2, 40, 12, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_gla_is_flas():
    layer = noisy("gla", d_model=12, heads=2, rank=3)
    y, state = layer(X)
    q, k, v = layer._heads(X)
    o, last = naive("gla").naive_recurrent_gla(q, k, v, layer._decays(X), output_final_state=True)
    same(y, layer._read(o, X))
    same(state.s, last)


@torch.no_grad()
def test_hgrn2_is_flas_gated_linear_attention():
    layer = noisy("hgrn2", d_model=12, heads=3, lower_bound=0.3)
    y, state = layer(X)
    q, k, v, g = layer._heads(X)
    scaled = q * math.sqrt(q.shape[-1])  # theirs divides by it
    o, last = naive("gla").naive_recurrent_gla(scaled, k, v, g, output_final_state=True)
    same(y, layer._read(o, X))
    same(state.s, last)


@torch.no_grad()
def test_retnet_is_flas_retention():
    layer = noisy("retnet", d_model=12, heads=2)
    places = torch.arange(40).expand(2, -1)
    q, k, v = (part.transpose(1, 2) for part in layer._heads(X, places))
    o = naive("retention").naive_retention(q, k, v).transpose(1, 2)
    same(layer(X)[0], layer._read(o, X), 5e-6)  # theirs takes powers of two of logarithms


@torch.no_grad()
def test_hgrn_without_rotation_is_flas():
    layer = noisy("hgrn", d_model=12, rotation=False, lower_bound=0.2)
    y, state = layer(X)
    keep, write = layer._gates(X)
    h, last = naive("hgrn").naive_recurrent_hgrn(write, keep.log(), output_final_state=True)
    same(y, layer._read(h, X))
    same(state.h, last)


@torch.no_grad()
def test_mamba2_is_flas_attention_with_a_shared_decay():
    layer = noisy("mamba2", d_model=12, d_state=6, d_head=4, taps=3)
    y, state = layer(X)
    z, mixed, d = layer.inputs(X).split(layer.sizes, -1)
    value, key, query = layer._split(convolved(layer, mixed))
    write, g = layer._decay(d, value)
    oracle = naive("simple_gla").naive_recurrent_simple_gla
    o, last = oracle(query, key, write, g, scale=1.0, output_final_state=True)
    same(y, layer._read(o, value, z))
    same(state.s, last)


@pytest.mark.parametrize("negative", [False, True])
@torch.no_grad()
def test_delta_net_is_flas(negative):
    layer = noisy("delta-net", d_model=12, heads=2, taps=3, negative=negative)
    o, last = naive("delta_rule").delta_rule_recurrence(*heads_first(layer, X))
    state = layer(X)[1]
    same(state.s, last)
    same(recalled(layer, X), o.transpose(1, 2))


@torch.no_grad()
def test_gated_delta_net_is_flas():
    layer = noisy("gated-delta-net", d_model=12, heads=2, taps=3)
    q, k, v, beta = (part.transpose(1, 2) for part in heads_first(layer, X))
    oracle = naive("gated_delta_rule").naive_recurrent_gated_delta_rule
    o, last = oracle(q, k, v, beta, layer.decay(X), output_final_state=True)
    same(layer(X)[0], layer.out(layer.norm(o) * F.silu(layer.gate(X))))
    same(layer(X)[1].s, last)


@pytest.mark.parametrize("forget", [False, True])
@torch.no_grad()
def test_delta_product_is_flas(forget):
    layer = noisy("delta-product", d_model=12, heads=2, householders=3, taps=2, forget=forget)
    q, k, v, beta = (part.transpose(1, 2) for part in heads_first(layer, X))
    oracle = naive("gated_delta_product").naive_recurrent_gated_delta_product
    g = layer.decay(X) if forget else None
    o, last = oracle(q, k, v, g, beta, q.shape[-1] ** -0.5, output_final_state=True, num_householder=3)
    same(layer(X)[0], layer.out(layer.norm(o) * F.silu(layer.gate(X))))
    same(layer(X)[1].s, last)


def heads_first(layer: Layer, x: Tensor) -> list[Tensor]:
    """Queries, unit keys, values and strengths of a delta layer as theirs, (B, H, L n, ...)."""
    delta = layer.delta
    q, k, v = delta._split(convolved(layer, delta.maps(x)))
    k = unit(k)  # theirs leaves this to the caller
    return [q.transpose(1, 2), *(t.flatten(1, 2).transpose(1, 2) for t in (k, v, delta._strengths(x)))]


def recalled(layer: Layer, x: Tensor) -> Tensor:
    """What a delta layer reads of its memory, before norm and output."""
    return layer.delta.sequence(x, None, layer.initial_state(len(x)), None, None)[0]


@torch.no_grad()
def test_lru_is_scipys_discrete_system():
    """The complex system as a real one of twice the size, a rotation per eigenvalue."""
    layer = noisy("lru", d_model=3, d_state=4).double()
    x = X[:1, :, :3].double()
    eigenvalues = layer.eigenvalues()
    blocks = [torch.tensor([[z.real, -z.imag], [z.imag, z.real]]) for z in eigenvalues]
    A = torch.block_diag(*blocks).numpy()
    B = (torch.exp(layer.log_gamma)[:, None, None] * layer.B).flatten(0, 1).detach().numpy()
    C = torch.stack([layer.C[..., 0], -layer.C[..., 1]], -1).flatten(1).detach().numpy()
    # scipy reads the state before the step, ours the one after it
    _, y, states = dlsim((A, B, C @ A, C @ B + np.diag(layer.D.detach().numpy()), 1.0), x[0].numpy())
    np.testing.assert_allclose(layer(x)[0][0].numpy(), y, atol=1e-12)
    last = torch.view_as_real(layer(x[:, :-1])[1].h)[0].flatten().numpy()
    np.testing.assert_allclose(last, states[-1], atol=1e-12)


@torch.no_grad()
def test_min_gru_with_a_constant_gate_is_scipys_filter():
    """With a constant gate z the layer is the filter h_t = (1 - z) h_{t-1} + z c_t."""
    layer = build("min-gru", d_model=2).double()
    layer.gates.weight[:2] = 0
    layer.gates.bias[:2] = -1.0
    x = X[:1, :, :2].double()
    z = torch.sigmoid(torch.tensor(-1.0, dtype=torch.float64)).item()
    candidates = F.linear(x, layer.gates.weight[2:], layer.gates.bias[2:])[0].numpy()
    wanted = lfilter([z], [1, z - 1], candidates, axis=0)
    np.testing.assert_allclose(layer(x)[0][0].numpy(), wanted, atol=1e-12)
