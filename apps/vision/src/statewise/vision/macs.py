"""Honest multiply-adds: every matrix product, convolution, attention and scan of one forward pass.

Counted from the operations that run, on tensors without memory, not from a formula: nothing that a paper's
table leaves out is left out here. Norms, activations and other elementwise work are not counted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from statewise.core.ops import use_backend

__all__ = ["multiply_adds", "parameter_count"]


def multiply_adds(model: nn.Module, *shape: int) -> int:
    """Multiply-adds of one forward pass on an input of that shape.

    Args:
        model: with weights or without (built inside `FakeTensorMode`, or on the device `meta`).
        shape: of the input, such as (1, C, Y, X).
    """
    device = next(model.parameters()).device
    was_training = model.training
    # on the device meta no backend runs; naming one keeps the dispatcher from remarking on it
    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    with counter, torch.no_grad(), use_backend("portable"):
        model.eval()(torch.empty(*shape, device=device))
    model.train(was_training)
    return counter.get_total_flops() // 2


def parameter_count(model: nn.Module) -> int:
    """Trained numbers."""
    return sum(parameter.numel() for parameter in model.parameters())


def _formulas() -> dict[Any, Any]:
    """Operations (two per multiply-add) of our operators, from the shapes of their arguments."""
    ops = torch.ops.statewise
    return {
        ops.gated_linear_attention: _attention,
        ops.linear_scan: _scan,
        ops.scan2d_matrix: _matrices,
        ops.path_weights: _paths,
        ops.depthwise_conv: _taps,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _softmax_attention,
    }


def _attention(q: Any, k: Any, v: Any, *rest: Any, **settings: Any) -> int:
    """A write k v' and a read S' q for each token and head."""
    batch, length, heads, keys = q
    return 2 * batch * length * heads * 2 * keys * v[-1]


def _softmax_attention(q: Any, k: Any, v: Any, *rest: Any, **settings: Any) -> int:
    """Two products of each pair of tokens; PyTorch's counter does not know this operation."""
    batch, heads, length, keys = q
    return 2 * batch * heads * length * k[-2] * (keys + v[-1])


def _scan(a: Any, b: Any, *rest: Any, **settings: Any) -> int:
    """One product per element."""
    return 2 * _size(b)


def _matrices(q: Any, k: Any, v: Any, transitions: Any, *rest: Any, **settings: Any) -> int:
    """A write to two edges, four products between edges and two reads of a K x V state per orientation."""
    orientations = transitions[4]
    return 2 * 8 * orientations * _size(q) * v[-1]


def _paths(transitions: Any, *rest: Any, **settings: Any) -> int:
    """Two products per edge and one to read it, for each node and each source that reaches it."""
    batch, rows, columns, _, orientations, gates = transitions
    pairs = rows * (rows + 1) // 2 * (columns * (columns + 1) // 2)
    return 2 * 2 * 3 * batch * orientations * gates * pairs


def _taps(x: Any, weight: Any, *rest: Any, **settings: Any) -> int:
    return 2 * _size(x) * weight[0]


def _size(shape: Any) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
