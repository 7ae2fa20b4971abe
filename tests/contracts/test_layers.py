"""The contract of every layer (`statewise.core.layers.contract`), proved for each row of the registry.

A new layer needs a row in `statewise.core.layers`, a row of tiny settings in `layers.toml` beside this file
and a page under `docs/layers`; nothing here changes. All runs on the plain torch backend, with which
`test_layer_portability.py` compares the others.
"""

from __future__ import annotations

import pytest
import torch

from statewise.core.errors import UserError
from tests.contracts.layer_cases import (
    B,
    L,
    carried,
    close,
    differentiable,
    dtypes,
    each,
    fold,
    gradients,
    inputs,
    leaves,
    make,
    mapped,
    random_reset,
    whole,
)

pytestmark = pytest.mark.usefixtures("portable")


@each(streaming=True)
@dtypes
def test_forward_is_a_fold_of_step(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    x = inputs(layer, dtype)
    for state in (None, carried(layer, dtype)):
        kept = mapped(state, torch.clone)
        close(layer(x, state), fold(layer, x, state), dtype)
        for before, after in zip(leaves(kept), leaves(state), strict=True):
            assert torch.equal(before, after), "a state that was handed in was written over"


@each(streaming=True)
@dtypes
def test_gradients_are_those_of_the_fold(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    x, state, reset = (
        inputs(layer, dtype).requires_grad_(),
        differentiable(carried(layer, dtype)),
        random_reset(),
    )
    wrt = [x, *layer.parameters(), *(leaf for leaf in leaves(state) if leaf.requires_grad)]
    whole = gradients(layer(x, state, reset), wrt)
    steps = gradients(fold(layer, x, state, reset), wrt)
    close(tuple(whole), tuple(steps), dtype, loose=10)


@each(streaming=True)
@dtypes
def test_final_state_is_differentiable(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    x = inputs(layer, dtype).requires_grad_()
    _, state = layer(x)
    floating = [leaf for leaf in leaves(state) if not whole(leaf)]
    assert floating
    assert all(leaf.requires_grad for leaf in floating)
    (grad,) = gradients(tuple(floating), [x])
    assert bool(grad.isfinite().all())
    assert float(grad.abs().sum()) > 0


@each(streaming=True)
@dtypes
@pytest.mark.parametrize("cuts", [(1,), (3,), (6,), (2, 3, 5)], ids=str)
def test_chunks_change_nothing(case: str, dtype: torch.dtype, cuts: tuple[int, ...]) -> None:
    layer = make(case, dtype)
    x, state, reset = inputs(layer, dtype), carried(layer, dtype), random_reset()
    for marks in (None, reset):
        outputs, now = [], state
        for start, end in zip((0, *cuts), (*cuts, L), strict=True):
            y, now = layer(x[:, start:end], now, None if marks is None else marks[:, start:end])
            outputs.append(y)
        close((torch.cat(outputs, 1), now), layer(x, state, marks), dtype)


@each(streaming=True)
@dtypes
@pytest.mark.parametrize("density", [0.3, 1.0], ids=["some", "all"])
def test_reset_replaces_the_whole_state(case: str, dtype: torch.dtype, density: float) -> None:
    layer = make(case, dtype)
    x, state = inputs(layer, dtype), carried(layer, dtype)
    reset = torch.rand(B, L) < density
    reset[0, 0] = True
    close(layer(x, state, reset), fold(layer, x, state, reset), dtype)
    close(layer(x, None, reset), fold(layer, x, None, reset), dtype)
    close(layer(x, state, torch.zeros_like(reset)), layer(x, state), dtype)


@each()
@dtypes
def test_reset_separates_sequences(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    x, state, reset = inputs(layer, dtype), carried(layer, dtype), random_reset()
    y, end = layer(x, state, reset)
    for row in range(B):
        now = mapped(state, lambda leaf, row=row: leaf[row : row + 1])
        starts = sorted({0, *reset[row].nonzero().flatten().tolist()})
        for start, stop in zip(starts, [*starts[1:], L], strict=True):
            now = None if reset[row, start] else now
            part, now = layer(x[row : row + 1, start:stop], now)
            close(y[row : row + 1, start:stop], part, dtype)
        close(mapped(end, lambda leaf, row=row: leaf[row : row + 1]), now, dtype)


@each()
@dtypes
@pytest.mark.parametrize("marked", [False, True], ids=["plain", "with-resets"])
def test_lengths_equal_each_sequence_alone(case: str, dtype: torch.dtype, marked: bool) -> None:
    layer = make(case, dtype)
    lengths = torch.tensor([L, 4, 0, 1])
    x, state = inputs(layer, dtype, rows=len(lengths)), carried(layer, dtype, rows=len(lengths))
    reset = (torch.rand(len(lengths), L) < 0.5) if marked else None
    padded = x.clone()
    for row, length in enumerate(lengths.tolist()):
        padded[row, length:] = float("nan")
    y, end = layer(padded, state, reset, lengths)
    for row, length in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        assert bool((y[one, length:] == 0).all()), "outputs after the end are zero"
        alone = mapped(state, lambda leaf, one=one: leaf[one])
        if length:
            part, alone = layer(x[one, :length], alone, None if reset is None else reset[one, :length])
            close(y[one, :length], part, dtype)
        close(mapped(end, lambda leaf, one=one: leaf[one]), alone if alone is not None else end, dtype)


@each()
def test_padding_gets_and_gives_no_gradient(case: str) -> None:
    layer = make(case)
    lengths = torch.tensor([L, 4, 0])
    x, state = inputs(layer), differentiable(carried(layer))
    for row, length in enumerate(lengths.tolist()):
        x[row, length:] = float("nan")
    x.requires_grad_()
    for grad in gradients(layer(x, state, random_reset(), lengths), [x, *layer.parameters()]):
        assert bool(grad.isfinite().all()), "NaN in the padding reaches a gradient"
    (grad,) = gradients(layer(x, state, None, lengths), [x])
    assert all(not bool(grad[row, length:].any()) for row, length in enumerate(lengths.tolist()))


@each(streaming=True, sequential=False)
@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float32, torch.float64], ids=["bfloat16", "float32", "float64"]
)
def test_state_keeps_its_form_and_precision(case: str, dtype: torch.dtype) -> None:
    layer = make(case, dtype)
    first = layer.initial_state(B, dtype=dtype)
    x = inputs(layer, dtype)
    y, second = layer(x)
    y_t, third = layer.step(x[:, 0], second)
    assert y.dtype == y_t.dtype == dtype
    wide = {torch.float32, torch.complex64} if dtype != torch.float64 else {torch.float64, torch.complex128}
    for leaf, *others in zip(leaves(first), leaves(second), leaves(third), strict=True):
        assert leaf.shape[0] == B
        assert whole(leaf) or leaf.dtype in wide
        assert all(other.shape == leaf.shape and other.dtype == leaf.dtype for other in others)
    named = first if hasattr(first, "_fields") else first[0]
    assert hasattr(named, "_fields"), "a state is a NamedTuple, or a tuple of them"
    assert type(second) is type(first) is type(third)


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # slower, as exact
@each(sequential=False)
def test_autocast_trains_and_leaves_the_state_its_precision(case: str) -> None:
    layer = make(case)
    x = inputs(layer).requires_grad_()
    exact = layer(x)[0].detach()
    with torch.autocast("cpu", torch.bfloat16):
        y, state = layer(x)
    assert float((y.detach() - exact).abs().max()) < 0.05 * max(1.0, float(exact.abs().max()))
    kinds = [leaf.dtype for leaf in leaves(layer.initial_state(B))]
    assert [leaf.dtype for leaf in leaves(state)] == kinds
    grads = gradients((y, state), [x, *layer.parameters()])
    assert all(bool(grad.isfinite().all()) for grad in grads)
    assert any(bool(grad.any()) for grad in grads)


@each(streaming=False, sequential=False)
def test_a_layer_that_reads_both_ways_says_so(case: str) -> None:
    layer = make(case)
    assert leaves(layer.initial_state(B)) == []
    with pytest.raises(UserError, match="both ways"):
        layer.step(inputs(layer)[:, 0], layer.initial_state(B))
    with pytest.raises(UserError, match="carries no state"):
        layer(inputs(layer), (torch.zeros(B),))
