"""What `Layer.forward` refuses, in words that name the argument; and `build` by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from statewise.core.errors import ConfigError, UnknownNameError, UserError
from statewise.core.layers import LAYERS, build
from statewise.core.layers.contract import Stateless
from statewise.core.layers.lru import LRU

X = torch.zeros(2, 5, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": torch.zeros(2, 5, 3)}, ("'x'", "D = 4", "(2, 5, 3)")),
        ({"x": torch.zeros(5, 4)}, ("'x'", "(B, L, D)", "(5, 4)")),
        ({"x": torch.zeros(2, 0, 4)}, ("'x'", "(2, 0, 4)")),
        ({"x": X, "reset": torch.zeros(2, 5)}, ("'reset'", "bool", "float32")),
        ({"x": X, "reset": torch.zeros(2, 4, dtype=torch.bool)}, ("'reset'", "(2, 5)", "(2, 4)")),
        ({"x": X, "lengths": torch.tensor([5.0, 1.0])}, ("'lengths'", "integers", "float32")),
        ({"x": X, "lengths": torch.tensor([5])}, ("'lengths'", "(2,)", "(1,)")),
        ({"x": X, "lengths": torch.tensor([5, 6])}, ("'lengths'", "between 0 and 5", "[5, 6]")),
        ({"x": X, "lengths": torch.tensor([-1, 5])}, ("'lengths'", "between 0 and 5", "[-1, 5]")),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        build("lru", d_model=4)(**arguments)
    for word in ("LRU", *words):
        assert word in str(caught.value)


def test_a_state_for_a_layer_without_one_is_refused() -> None:
    layer = build("s5-bidirectional", d_model=4, d_state=6)
    y, state = layer(X)
    assert state == Stateless()
    assert torch.equal(layer(X, state)[0], y)
    with pytest.raises(UserError, match="carries no state"):
        layer(X, (torch.zeros(2, 3),))


def test_build_reads_settings_strictly() -> None:
    layer = build("LRU", d_model=4, d_state=3)
    assert isinstance(layer, LRU)
    assert (layer.config.d_state, layer.config.r_max) == (3, 0.999)
    with pytest.raises(UnknownNameError, match="did you mean 'lru'"):
        build("lruu", d_model=4)
    with pytest.raises(ConfigError, match="did you mean 'd_state'"):
        build("lru", d_model=4, d_stat=3)
    with pytest.raises(ConfigError, match="r_max"):
        build("lru", d_model=4, r_min=0.99, r_max=0.9)


def test_listing_layers_imports_no_torch() -> None:
    code = "import sys; from statewise.core.layers import LAYERS; list(LAYERS); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert "lru" in LAYERS


def test_initial_state_takes_device_and_dtype_of_the_parameters() -> None:
    layer = build("lru", d_model=4, d_state=3).double()
    assert layer.initial_state(2).h.dtype == torch.complex128
    assert layer.initial_state(2, dtype=torch.bfloat16).h.dtype == torch.complex64
    assert layer.initial_state(2, device="meta").h.device.type == "meta"
