"""The contract of layers, second part: dtypes, devices, compilers, backends and threads give one answer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from statewise.core import ops
from statewise.core.layers.contract import Layer
from tests.contracts.layer_cases import (
    B,
    carried,
    close,
    differentiable,
    dtypes,
    each,
    gradients,
    inputs,
    leaves,
    make,
    mapped,
    random_reset,
    whole,
)

pytestmark = pytest.mark.usefixtures("portable")


@each(sequential=False)
def test_gradcheck_against_the_reference(case: str) -> None:
    layer = make(case, torch.float64)
    x = inputs(layer, torch.float64, rows=2, length=5).requires_grad_()
    state = differentiable(carried(layer, torch.float64, rows=2))
    reset = random_reset(2, 5) if "L" in layer.axes else None
    floating = [leaf for leaf in leaves(state) if leaf.requires_grad]
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        queue = iter(rest[: len(floating)])
        now = mapped(state, lambda leaf: next(queue) if leaf.requires_grad else leaf)
        weights = dict(zip(names, rest[len(floating) :], strict=True))
        out = torch.func.functional_call(layer, weights, (x, now, reset))
        return tuple(leaf for leaf in leaves(out) if not whole(leaf))

    with ops.use_backend("reference"):
        assert torch.autograd.gradcheck(run, (x, *floating, *parameters), fast_mode=True)


@each(sequential=False)
def test_weights_and_dtypes_round_trip(case: str) -> None:
    layer, twin = make(case), make(case)
    x = inputs(layer)
    expected = layer(x)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.fill_(0.5)
    twin.load_state_dict(layer.state_dict())
    close(twin(x), expected, torch.float32, loose=0)
    close(layer.double().float()(x), expected, torch.float32, loose=0)
    wide = layer.double()(x.double())
    close(mapped(wide, lambda leaf: leaf if whole(leaf) else leaf.to(narrow(leaf))), expected, torch.float32)


def narrow(tensor: Tensor) -> torch.dtype:
    return torch.complex64 if tensor.is_complex() else torch.float32


@each(sequential=False)
def test_everything_follows_the_device(case: str) -> None:
    layer = make(case)
    x, expected = inputs(layer), layer(inputs(layer))
    there = layer.to("meta")
    y, state = there(x.to("meta"))
    for actual, like in zip(leaves((y, state)), leaves(expected), strict=True):
        assert (actual.device.type, actual.shape, actual.dtype) == ("meta", like.shape, like.dtype)
    assert all(leaf.device.type == "meta" for leaf in leaves(there.initial_state(B)))


class Step(nn.Module):
    """`step` as the forward of a module, which is what exporters take."""

    def __init__(self, layer: Layer[Any]) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.layer.step(x_t, state)


@each(streaming=True, compiles=True)
def test_compiled_step_equals_eager(case: str) -> None:
    layer = make(case)
    x_t, state = inputs(layer)[:, 0], carried(layer)
    torch.compiler.reset()
    compiled = torch.compile(layer.step, backend="aot_eager", fullgraph=True)
    close(compiled(x_t, state), layer.step(x_t, state), torch.float32)


@each(sequential=False, compiles=True)
def test_compiled_forward_equals_eager(case: str) -> None:
    layer = make(case)
    x, state, reset = inputs(layer).requires_grad_(), carried(layer), random_reset()
    arguments = (x, state, reset) if "L" in layer.axes else (x,)
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    actual, expected = compiled(*arguments), layer(*arguments)
    close(actual, expected, torch.float32)
    wrt = [x, *layer.parameters()]
    close(tuple(gradients(actual, wrt)), tuple(gradients(expected, wrt)), torch.float32, loose=10)


@each(streaming=True, compiles=True)
def test_exported_step_equals_eager(case: str) -> None:
    layer = make(case)
    x_t, state = inputs(layer)[:, 0], carried(layer)
    program = torch.export.export(Step(layer), (x_t, state))
    close(program.module()(x_t, state), layer.step(x_t, state), torch.float32)


BACKENDS = ["portable", pytest.param("cpu", marks=pytest.mark.kernels)]


@each(sequential=False)
@dtypes
@pytest.mark.parametrize("backend", BACKENDS)
def test_backends_agree(case: str, dtype: torch.dtype, backend: str) -> None:
    layer = make(case, dtype)
    x, state = inputs(layer, dtype).requires_grad_(), carried(layer, dtype)
    arguments = (x, state, random_reset()) if "L" in layer.axes else (x,)
    wrt = [x, *layer.parameters()]
    with ops.use_backend("reference"):
        expected = layer(*arguments)
        slopes = gradients(expected, wrt)
    with _using(backend):
        actual = layer(*arguments)
        close(actual, expected, dtype)
        close(tuple(gradients(actual, wrt)), tuple(slopes), dtype, loose=10)


@each(sequential=False)
@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_agree(case: str, backend: str) -> None:
    layer = make(case)
    x = inputs(layer, rows=4, length=64).requires_grad_()
    results = []
    with _using(backend):
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                out = layer(x)
                results.append((out, tuple(gradients(out, [x, *layer.parameters()]))))
        finally:
            torch.set_num_threads(1)
    close(results[1], results[0], torch.float32, loose=0.3)  # torch sums convolutions in another order


def _using(backend: str) -> AbstractContextManager[None]:
    if backend == "cpu":
        pytest.importorskip("numba")
    return ops.use_backend(backend)
