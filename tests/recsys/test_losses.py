"""Losses against each other: tiles against the whole, samples of everything against everything."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from statewise.core.errors import ConfigError, UnknownNameError
from statewise.recsys.network import chunked_ce
from statewise.recsys.network.chunked_ce import chunked_cross_entropy
from statewise.recsys.network.dropout import ByteDropout
from statewise.recsys.network.losses import (
    LOSSES,
    Loss,
    LossConfig,
    Negatives,
    binary_cross_entropy,
    gbce_beta,
    sampled_softmax,
)


def problem(n: int, v: int, d: int, *, scale: float = 1.0, dtype: torch.dtype = torch.float64):
    make = torch.Generator().manual_seed(n * v + d)
    hidden, table = (torch.randn(k, d, generator=make, dtype=dtype) * scale for k in (n, v))
    bias = torch.randn(v, generator=make, dtype=dtype)
    targets = torch.randint(v, (n,), generator=make)
    return hidden, table, bias, targets


def with_gradients(loss, hidden, table, bias, targets):
    leaves = [t.clone().requires_grad_() for t in (hidden, table, bias)]
    value = loss(leaves[0], leaves[1], leaves[2], targets)
    (3 * value).backward()
    return [value.detach(), *(leaf.grad for leaf in leaves)]


def dense(hidden, table, bias, targets):
    return F.cross_entropy(hidden @ table.t() + bias, targets)


@settings(max_examples=40)
@given(
    n=st.integers(1, 70),
    v=st.integers(2, 90),
    tile=st.sampled_from([1, 64, 500, 10**6]),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    wide=st.booleans(),
)
def test_tiles_give_the_loss_and_the_gradients_of_the_whole(n, v, tile, scale, wide):
    args = problem(n, v, 5, scale=scale)
    before = chunked_ce._WIDE
    chunked_ce._WIDE = 0 if wide else before  # force the sweep over tiles of items
    try:
        tiled = with_gradients(lambda h, e, b, y: chunked_cross_entropy(h, e, b, y, tile=tile), *args)
    finally:
        chunked_ce._WIDE = before
    for mine, whole in zip(tiled, with_gradients(dense, *args), strict=True):
        assert torch.allclose(mine, whole, rtol=1e-9, atol=1e-11)


def test_a_target_without_probability_has_a_finite_loss():
    hidden, table, bias, targets = problem(4, 30, 3, dtype=torch.float32)
    hidden *= 1_000.0
    tiled = with_gradients(chunked_cross_entropy, hidden, table, bias, targets)
    whole = with_gradients(dense, hidden, table, bias, targets)
    assert torch.allclose(tiled[0], whole[0], rtol=1e-5)
    assert all(torch.isfinite(t).all() for t in tiled)


@pytest.mark.parametrize("wide", [False, True])
def test_bf16_products_are_within_a_percent_and_leave_no_trace(monkeypatch: pytest.MonkeyPatch, wide: bool):
    monkeypatch.setattr(chunked_ce, "_WIDE", 0 if wide else 2**14)
    hidden, table, bias, targets = problem(600, 700, 64, dtype=torch.float32)
    table *= 0.3  # logits as those of a trained network: a deviation of 2.4, some beyond 10
    before = torch.backends.mkldnn.matmul.fp32_precision
    rough = with_gradients(
        lambda h, e, b, y: chunked_cross_entropy(h, e, b, y, products="bf16"), hidden, table, bias, targets
    )
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    exact = with_gradients(dense, hidden.double(), table.double(), bias.double(), targets)
    assert float(rough[0]) == pytest.approx(float(exact[0]), rel=1e-3)
    for mine, whole in zip(rough[1:], exact[1:], strict=True):
        assert float((mine - whole).norm() / whole.norm()) < 0.01


def test_no_gradient_is_computed_where_none_is_asked():
    hidden, table, bias, targets = problem(6, 20, 3)
    assert torch.allclose(chunked_cross_entropy(hidden, table, bias, targets), dense(*problem(6, 20, 3)))


MEMORY = """
import sys, torch
from torch.nn import functional as F
from statewise.recsys.network.chunked_ce import chunked_cross_entropy
torch.set_num_threads(1)
n, v, d = 160, 200_000, 16
h, e = (torch.randn(k, d, requires_grad=True) for k in (n, v))
b, y = torch.zeros(v, requires_grad=True), torch.randint(v, (n,))
(h[:2] @ e[:9].t()).sum().backward()  # libraries are loaded before the memory is looked at
def peak():  # of this program alone: ru_maxrss keeps what the process held before it was replaced
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before = peak()
loss = chunked_cross_entropy(h, e, b, y) if sys.argv[1] == "tiles" else F.cross_entropy(h @ e.t() + b, y)
loss.backward()
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_tiles_take_less_than_a_fifth_of_the_memory_at_200_000_items():
    def peak(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", MEMORY, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert peak("tiles") < peak("whole") / 5


def test_a_sample_of_all_items_is_full_cross_entropy():
    hidden, table, bias, targets = problem(20, 30, 5)
    everything = Negatives(torch.arange(30), torch.zeros(30, dtype=torch.float64))
    sampled = with_gradients(
        lambda h, e, b, y: sampled_softmax(h, y, e, b, everything), hidden, table, bias, targets
    )
    for mine, whole in zip(sampled, with_gradients(dense, hidden, table, bias, targets), strict=True):
        assert torch.allclose(mine, whole, rtol=1e-9, atol=1e-11)


def test_the_sampled_sum_is_unbiased():
    hidden, table, bias, targets = problem(1, 25, 4)
    loss = Loss(LossConfig(name="sampled", negatives=20_000, alpha=0.7), torch.arange(1, 26))
    scores = (hidden @ table.t() + bias)[0]
    drawn = loss.draw(torch.device("cpu"))
    others = torch.where(drawn.items == targets, 0.0, (scores[drawn.items] - drawn.log_expected).exp())
    exact = scores.exp().sum() - scores[targets].exp().sum()
    assert others.sum().item() == pytest.approx(exact.item(), rel=0.05)


def test_gbce_without_calibration_is_bce_and_with_it_is_its_formula():
    assert gbce_beta(64, 500, 0.0) == pytest.approx(1.0)
    a, t = 64 / 499, 0.75
    assert gbce_beta(64, 500, t) == pytest.approx(a * (t * (1 - 1 / a) + 1 / a))
    assert gbce_beta(64, 500, 1.0) == pytest.approx(a)
    args = problem(7, 40, 3)
    counts = torch.ones(40)
    values = []
    for name in ("bce", "gbce"):
        torch.manual_seed(0)
        loss = Loss(LossConfig(name=name, negatives=8, calibration=0.0), counts)
        values.append(with_gradients(lambda h, e, b, y, loss=loss: loss(h, y, e, b), *args))
    for one, other in zip(*values, strict=True):
        assert torch.allclose(one, other)


@pytest.mark.parametrize("shared", [True, False])
def test_bce_is_its_definition(shared: bool):
    hidden, table, bias, targets = problem(5, 12, 3)
    negatives = torch.randint(12, (6,) if shared else (5, 6))
    total = 0.0
    for i in range(5):
        own = hidden[i] @ table[targets[i]] + bias[targets[i]]
        row = negatives if shared else negatives[i]
        others = table[row] @ hidden[i] + bias[row]
        total += -(torch.sigmoid(own).log() + (1 - torch.sigmoid(others)).log().sum()) / 7
    assert binary_cross_entropy(hidden, targets, table, bias, negatives).item() == pytest.approx(
        float(total) / 5
    )


def test_in_batch_negatives_are_corrected_for_their_frequency():
    """A popular item is drawn often; its expected number is K times its share of the training events."""
    counts = torch.tensor([90.0, 10.0])
    loss = Loss(LossConfig(name="in-batch", negatives=4), counts)
    drawn = loss.from_batch(torch.tensor([0, 0, 1, 0]))
    expected = {0: 4 * 0.9, 1: 4 * 0.1}
    for item, log in zip(drawn.items.tolist(), drawn.log_expected.tolist(), strict=True):
        assert log == pytest.approx(torch.tensor(expected[item]).log().item(), rel=1e-5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_prefers_the_right_item(name: str):
    """Gradient descent on the scores alone brings the target to the first place."""
    torch.manual_seed(0)
    table, targets = torch.eye(6), torch.tensor([4, 2, 4])
    hidden = torch.zeros(3, 6, requires_grad=True)
    loss = Loss(LossConfig(name=name, negatives=3), torch.ones(6))
    for _ in range(60):
        (grad,) = torch.autograd.grad(loss(hidden, targets, table, torch.zeros(6)), hidden)
        hidden = (hidden - 2 * grad).detach().requires_grad_()
    assert hidden.argmax(1).tolist() == [4, 2, 4]


def test_unknown_losses_and_bounds_are_named():
    with pytest.raises(UnknownNameError, match="did you mean 'gbce'"):
        LossConfig(name="gbces")
    with pytest.raises(ConfigError, match="negatives"):
        LossConfig(negatives=0)


def test_byte_dropout_keeps_the_mean_and_drops_its_share():
    torch.manual_seed(0)
    layer = ByteDropout(0.25)
    x = torch.ones(40_000, requires_grad=True)
    y = layer(x)
    assert y.mean().item() == pytest.approx(1.0, abs=0.02)
    assert (y == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert layer.eval()(x) is x
