from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from statewise.core.folding import folded


class Calls(nn.Module):
    """A function of an input and a weight."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], weight: Tensor) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(weight, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight)


def fold(module: nn.Module, x: Tensor) -> torch.fx.GraphModule:
    return folded(torch.export.export(module, (x,), strict=False))


def called(module: torch.fx.GraphModule) -> list[str]:
    names = [str(node.target) for node in module.graph.nodes if node.op == "call_function"]
    return [name.removeprefix("aten.") for name in names if "assert" not in name]


def test_what_depends_on_weights_alone_becomes_one_constant() -> None:
    module = Calls(lambda x, w: x * (torch.exp(-torch.exp(w)) + torch.arange(3)), torch.randn(3))
    x = torch.randn(2, 3)
    after = fold(module, x)
    assert called(after) == ["mul.Tensor"]
    torch.testing.assert_close(after(x), module(x), rtol=0, atol=0)


def test_parts_of_a_constant_and_results_of_several_values_are_folded() -> None:
    def function(x: Tensor, w: Tensor) -> Tensor:
        first, second = torch.sigmoid(w).chunk(2)
        return x * first + second

    module, x = Calls(function, torch.randn(6)), torch.randn(2, 3)
    after = fold(module, x)
    assert called(after) == ["mul.Tensor", "add.Tensor"]
    torch.testing.assert_close(after(x), module(x), rtol=0, atol=0)


def test_constants_share_no_memory() -> None:
    def function(x: Tensor, w: Tensor) -> Tensor:
        first, second = torch.sigmoid(w).unbind(0)
        return x * first + second

    after = fold(Calls(function, torch.randn(2, 3)), torch.randn(3))
    places = [buffer.untyped_storage().data_ptr() for buffer in after.buffers()]
    assert len(places) == len(set(places)) == 2


def test_complex_constants_are_stored_as_pairs() -> None:
    module = Calls(lambda x, w: (torch.view_as_complex(w).exp() * x).real, torch.randn(3, 2))
    x = torch.randn(3)
    after = fold(module, x)
    assert not any(tensor.is_complex() for tensor in (*after.buffers(), *after.parameters()))
    assert called(after)[0] == "view_as_complex.default"
    torch.testing.assert_close(after(x), module(x))


@pytest.mark.parametrize("imaginary", [None, 1e-6, 0.5, 3.0])
def test_expm1_of_small_and_large_numbers_keeps_its_digits(imaginary: float | None) -> None:
    size = torch.logspace(-9, 1, 41)
    x = torch.cat([-100 * torch.ones(1), -size.flip(0), torch.zeros(1), size])
    given = x[:, None] if imaginary is None else torch.stack([x, torch.full_like(x, imaginary)], 1)

    def function(x: Tensor, w: Tensor) -> Tensor:
        if imaginary is None:
            return torch.expm1(x)
        return torch.view_as_real(torch.expm1(torch.view_as_complex(x)))

    after = fold(Calls(function, torch.zeros(1)), given)
    assert not any("expm1" in name for name in called(after))
    expected = function(given.double(), torch.zeros(1))
    if imaginary is None:
        torch.testing.assert_close(after(given).double(), expected, rtol=5e-7, atol=0)
    else:
        error = (after(given).double() - expected).norm(dim=1)
        assert bool((error <= 5e-7 * expected.norm(dim=1)).all())


@pytest.mark.parametrize("dim", [0, 1, -1, -2])
def test_axes_of_complex_tensors_are_those_of_their_pairs(dim: int) -> None:
    def function(x: Tensor, w: Tensor) -> Tensor:
        z = torch.view_as_complex(x)
        return z.select(dim, 1).real.sum() + z.unsqueeze(dim).real.flatten() * torch.arange(6)

    module, x = Calls(function, torch.zeros(1)), torch.randn(2, 3, 2)
    torch.testing.assert_close(fold(module, x)(x), module(x))


def test_a_system_of_constants_is_solved_by_a_constant_inverse() -> None:
    weight = torch.linspace(1, 30, 8)[:, None] * torch.tril(torch.ones(8, 8))

    def function(x: Tensor, w: Tensor) -> Tensor:
        return torch.linalg.solve(torch.eye(8) + torch.stack([w, 2 * w]), x)

    x = torch.randn(3, 2, 8, 1)
    after = fold(Calls(function, weight), x)
    assert not any("linalg" in name for name in called(after))
    expected = torch.linalg.solve(
        torch.eye(8).double() + torch.stack([weight, 2 * weight]).double(), x.double()
    )
    torch.testing.assert_close(after(x).double(), expected, rtol=1e-6, atol=1e-6)
