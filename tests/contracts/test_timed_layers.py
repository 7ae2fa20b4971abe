"""The contract of layers of continuous time, for each row of the registry that says it is one."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from statewise.core.blocks import Stack, StackConfig
from statewise.core.config import from_dict
from statewise.core.errors import UserError
from statewise.core.layers import LAYERS
from statewise.core.layers.lru import LRU, LRUConfig
from statewise.core.layers.mamba import Mamba, MambaConfig
from statewise.core.layers.s5 import S5, S5Config
from statewise.core.layers.timed import TimedLayer
from tests.contracts.layer_cases import (
    TABLE,
    B,
    L,
    carried,
    chosen,
    close,
    dtypes,
    gradients,
    inputs,
    make,
    mapped,
    random_reset,
)

pytestmark = pytest.mark.usefixtures("portable")

TIMED = [case for case in TABLE["layers"] if LAYERS[case.partition("/")[0]].facts.get("timed")]
cases = pytest.mark.parametrize("case", [*TIMED, "stack"])


def layer_of(case: str, dtype: torch.dtype) -> TimedLayer[Any]:
    if case == "stack":
        torch.manual_seed(0)
        return Stack(StackConfig(d_model=4, mixer="s5", settings={"d_state": 4})).to(dtype).eval()
    return cast("TimedLayer[Any]", make(case, dtype))


def lasting(dtype: torch.dtype, rows: int = B) -> Tensor:
    """Steps from a tenth to ten times the ordinary one, and one that takes no time."""
    elapsed = torch.exp(torch.linspace(math.log(0.1), math.log(10), rows * L, dtype=dtype)).view(rows, L)
    elapsed[-1, 2] = 0
    return elapsed


def fold(layer: TimedLayer[Any], x: Tensor, state: Any, reset: Tensor, elapsed: Tensor) -> tuple[Tensor, Any]:
    fresh, outputs = layer.initial_state(len(x), dtype=x.dtype), []
    for t in range(x.shape[1]):
        state = chosen(reset[:, t], fresh, state)
        y, state = layer.step(x[:, t], state, elapsed[:, t])
        outputs.append(y)
    return torch.stack(outputs, 1), state


def test_which_layers_know_of_time() -> None:
    known = {name for name, entry in LAYERS.entries().items() if issubclass(entry.load(), TimedLayer)}
    assert known == {name for name, entry in LAYERS.entries().items() if entry.facts.get("timed")}


@cases
@dtypes
def test_ones_are_the_ordinary_step(case: str, dtype: torch.dtype) -> None:
    layer = layer_of(case, dtype)
    x, state = inputs(layer, dtype), carried(layer, dtype)
    close(layer(x, state, None, None, torch.ones(B, L, dtype=dtype)), layer(x, state), dtype)
    close(layer.step(x[:, 0], state, torch.ones(B, dtype=dtype)), layer.step(x[:, 0], state), dtype)


@cases
@dtypes
def test_forward_is_a_fold_of_step(case: str, dtype: torch.dtype) -> None:
    layer = layer_of(case, dtype)
    x, state, elapsed = inputs(layer, dtype), carried(layer, dtype), lasting(dtype)
    reset = random_reset()
    close(layer(x, state, reset, None, elapsed), fold(layer, x, state, reset, elapsed), dtype)
    first, now = layer(x[:, :3], state, reset[:, :3], None, elapsed[:, :3])
    last, now = layer(x[:, 3:], now, reset[:, 3:], None, elapsed[:, 3:])
    close((torch.cat([first, last], 1), now), layer(x, state, reset, None, elapsed), dtype)


@cases
def test_gradients_are_those_of_the_fold(case: str) -> None:
    layer, dtype = layer_of(case, torch.float64), torch.float64
    x, state = inputs(layer, dtype).requires_grad_(), carried(layer, dtype)
    elapsed, reset = (lasting(dtype) + 0.01).requires_grad_(), random_reset()
    wrt = [x, elapsed, *layer.parameters()]
    whole = gradients(layer(x, state, reset, None, elapsed), wrt)
    assert float(whole[1].abs().sum(1).min()) > 0
    close(tuple(whole), tuple(gradients(fold(layer, x, state, reset, elapsed), wrt)), dtype, loose=10)


@cases
def test_lengths_equal_each_sequence_alone(case: str) -> None:
    layer, dtype = layer_of(case, torch.float64), torch.float64
    lengths = torch.tensor([L, 4, 0, 1])
    x, state, elapsed = inputs(layer, dtype, 4), carried(layer, dtype, 4), lasting(dtype, 4)
    padded, times = x.clone(), elapsed.clone()
    for row, length in enumerate(lengths.tolist()):
        padded[row, length:], times[row, length:] = float("nan"), float("nan")
    y, end = layer(padded, state, None, lengths, times)
    for row, length in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        alone = mapped(state, lambda leaf, one=one: leaf[one])
        if length:
            part, alone = layer(x[one, :length], alone, None, None, elapsed[one, :length])
            close(y[one, :length], part, dtype)
        close(mapped(end, lambda leaf, one=one: leaf[one]), alone, dtype)


@pytest.mark.parametrize("discretisation", ["zoh", "bilinear"])
def test_s5_takes_a_longer_step(discretisation: str) -> None:
    """A step that lasts 2.5 is the step of a system with 2.5 times the Delta."""
    torch.manual_seed(0)
    layer = S5(from_dict(S5Config, {"d_model": 3, "d_state": 6, "discretisation": discretisation})).double()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    y, _ = layer(x, None, None, None, torch.full((2, 5), 2.5, dtype=torch.float64))
    with torch.no_grad():
        layer.log_dt.add_(math.log(2.5))
    close(y, layer(x)[0], torch.float64)


def test_s5_does_not_care_where_a_constant_input_is_cut() -> None:
    """Held constant, an input of 0.3 and 1.7 steps is one of 2: the zero-order hold is exact."""
    torch.manual_seed(0)
    layer = S5(S5Config(d_model=3, d_state=6)).double()
    u, state = torch.randn(2, 3, dtype=torch.float64), carried(layer, torch.float64, 2)

    def lasts(time: float) -> Tensor:
        return torch.full((2,), time, dtype=torch.float64)

    parts = layer.step(u, layer.step(u, state, lasts(0.3))[1], lasts(1.7))
    close(parts, layer.step(u, state, lasts(2.0)), torch.float64)


def test_lru_takes_powers() -> None:
    torch.manual_seed(0)
    layer = LRU(LRUConfig(d_model=3, d_state=4)).double()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    y, _ = layer(x, None, None, None, torch.full((2, 5), 2.5, dtype=torch.float64))
    with torch.no_grad():
        layer.nu.add_(math.log(2.5))
        layer.theta.add_(math.log(2.5))
    close(y, layer(x)[0], torch.float64)


def test_mamba_takes_a_longer_step() -> None:
    """delta * 2.5 is the same as rates and input maps of 2.5 times the size."""
    torch.manual_seed(0)
    layer = Mamba(MambaConfig(d_model=4, d_state=3)).double()
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    y, _ = layer(x, None, None, None, torch.full((2, 5), 2.5, dtype=torch.float64))
    rank, states = layer.sizes[0], layer.sizes[1]
    with torch.no_grad():
        layer.A_log.add_(math.log(2.5))
        layer.maps.weight[rank : rank + states] *= 2.5
    close(y, layer(x)[0], torch.float64)


def test_what_they_refuse() -> None:
    layer = S5(S5Config(d_model=3, d_state=4))
    x = torch.zeros(2, 5, 3)
    for wrong in (torch.ones(2, 4), torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5, 1)):
        with pytest.raises(UserError, match="'elapsed' does not fit"):
            layer(x, None, None, None, wrong)
    stack = Stack(StackConfig(d_model=3, mixer="min-gru", depth=1))
    with pytest.raises(UserError, match="every step to be of the same length"):
        stack(x, None, None, None, torch.ones(2, 5))
    with pytest.raises(UserError, match="choose s5, lru or mamba"):
        stack.step(x[:, 0], stack.initial_state(2), torch.ones(2))
