"""The graph of an exported program, made ready for other runtimes.

What does not depend on the inputs becomes a constant, so that a discretisation is computed once and not at
every step. Constants hold complex numbers as pairs. Operations that the ONNX exporter of torch lacks, or has
with a loss of digits, are written with others.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

__all__ = ["folded"]


def _expm1(x: Tensor) -> Tensor:
    """exp(x) - 1 = tanh(x / 2) (exp(x) + 1): ONNX has no expm1, and the difference would lose all digits."""
    if not x.is_complex():
        return torch.tanh(x / 2) * (torch.exp(x) + 1)
    half = torch.sin(x.imag / 2)
    real = _expm1(x.real) * torch.cos(x.imag) - 2 * half * half
    return torch.complex(real, torch.exp(x.real) * torch.sin(x.imag))


def _solve(a: Tensor, b: Tensor, *, left: bool = True) -> Tensor:
    """a^-1 b by the inverse, which is a constant where a is; taken in float64, to keep its digits."""
    if not left or b.ndim < a.ndim:
        return NotImplemented
    wide = torch.promote_types(a.dtype, torch.float64)
    return torch.linalg.inv(a.to(wide)).to(a.dtype) @ b


def _on_pairs(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operation along one axis, for complex tensors done on pairs: the exporter has no form for those."""

    def run(x: Tensor, dim: int, *rest: int) -> Tensor:
        if not x.is_complex():
            return NotImplemented
        return torch.view_as_complex(operation(torch.view_as_real(x), dim if dim >= 0 else dim - 1, *rest))

    return run


_REWRITTEN: dict[Any, Callable[..., Tensor]] = {
    torch.ops.aten.expm1.default: _expm1,
    torch.ops.aten.linalg_solve.default: _solve,
    torch.ops.aten.select.int: _on_pairs(torch.select),
    torch.ops.aten.unsqueeze.default: _on_pairs(torch.unsqueeze),
}


def folded(program: ExportedProgram) -> fx.GraphModule:
    """A program as a module in which whatever does not depend on the inputs is a constant.

    Args:
        program: without randomness, of fixed shapes.

    Returns:
        A module of the same inputs and outputs, with operations that the ONNX exporter knows.
    """
    program = program.run_decompositions(dict(_REWRITTEN))
    module = cast(fx.GraphModule, program.module(check_guards=False))
    values: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            values[node] = operator.attrgetter(node.target)(module)
        elif node.op == "call_function" and all(source in values for source in node.all_input_nodes):
            arguments, options = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*arguments, **options)
    for number, (node, value) in enumerate(values.items()):
        read_later = any(user not in values for user in node.users)
        if node.op != "get_attr" and read_later and isinstance(value, Tensor):
            _store(module, node, f"constant_{number}", value)
    for node in reversed(values):
        if not node.users:
            module.graph.erase_node(node)
    module.graph.lint()
    module.recompile()
    return module


def _store(module: fx.GraphModule, node: fx.Node, name: str, value: Tensor) -> None:
    """Put a constant in the place of a node; complex ones are stored as pairs, which every format knows."""
    real = torch.view_as_real(value) if value.is_complex() else value
    # a copy: constants that share memory cannot be saved apart
    module.register_buffer(name, real.clone(memory_format=torch.contiguous_format))
    with module.graph.inserting_before(node):
        stored = module.graph.get_attr(name)
        if value.is_complex():
            stored = module.graph.call_function(torch.ops.aten.view_as_complex.default, (stored,))
    node.replace_all_uses_with(stored)
