"""Blocks and stacks beyond the layer contract: what they are made of and what they refuse."""

from __future__ import annotations

import pytest
import torch

from statewise.core.blocks import (
    Bidirectional,
    BidirectionalConfig,
    Block,
    BlockConfig,
    GatedMLP,
    Griffin,
    GriffinConfig,
    Stack,
    StackConfig,
)
from statewise.core.config import from_dict, to_dict
from statewise.core.errors import ConfigError, UnknownNameError, UserError
from statewise.core.layers.masking import flip


def test_a_block_adds_its_mixer_and_its_mlp() -> None:
    block = Block(BlockConfig(d_model=4, mixer="min-gru")).eval()
    x = torch.randn(2, 5, 4)
    after = x + block.mixer(block.mixer_norm(x))[0]
    torch.testing.assert_close(block(x)[0], after + block.mlp(block.mlp_norm(after)))


def test_gated_mlp() -> None:
    mlp = GatedMLP(3, 5)
    x = torch.randn(2, 3)
    gate, value = (x @ weight.T for weight in mlp.up.weight.chunk(2))
    torch.testing.assert_close(mlp(x), (gate * torch.sigmoid(gate) * value) @ mlp.down.weight.T)


def test_a_stack_carries_one_state_per_block() -> None:
    stack = Stack(StackConfig(d_model=4, mixer="pgn", settings={"window": 2}, depth=3))
    y, state = stack(torch.randn(2, 5, 4))
    assert [part.inputs.shape for part in state] == [(2, 2, 4)] * 3
    torch.testing.assert_close(y.pow(2).mean(-1), torch.ones(2, 5), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="zip"):
        stack.step(torch.randn(2, 4), state[:2])


def test_griffin_is_two_recurrences_to_one_local_attention() -> None:
    stack = Griffin(GriffinConfig(d_model=12, depth=7, heads=2, window=5))
    attention = [type(block.mixer).__name__ == "Attention" for block in stack.blocks]
    assert attention == [False, False, True, False, False, True, False]
    local, recurrent = stack.blocks[2].mixer.config, stack.blocks[0].mixer.config
    assert (local.window, local.kv_heads, recurrent.d_recurrent) == (5, 1, 16)
    assert stack.blocks[0].mlp.down.in_features == 36


@pytest.mark.parametrize(
    ("settings", "field"), [({"heads": 5}, "heads"), ({"window": 0}, "window"), ({"depth": 0}, "depth")]
)
def test_griffin_refuses_what_its_blocks_refuse(settings, field) -> None:
    with pytest.raises(ConfigError, match=field):
        GriffinConfig(d_model=16, **settings)


def test_dropout_acts_in_training_only() -> None:
    block = Block(BlockConfig(d_model=4, mixer="min-gru", dropout=0.5))
    x = torch.randn(2, 5, 4)
    assert not torch.equal(block(x)[0], block(x)[0])
    block.eval()
    assert torch.equal(block(x)[0], block(x)[0])


def test_reading_both_ways_is_symmetric() -> None:
    both = Bidirectional(BidirectionalConfig(d_model=4, mixer="min-gru"))
    both.backwards.load_state_dict(both.forwards.state_dict())
    with torch.no_grad():
        both.merge.weight[:, 4:] = both.merge.weight[:, :4]
    x, lengths = torch.randn(3, 6, 4), torch.tensor([6, 4, 1])
    torch.testing.assert_close(
        both(flip(x, lengths), lengths=lengths)[0], flip(both(x, lengths=lengths)[0], lengths)
    )


@pytest.mark.parametrize("bidirectional", [False, True])
def test_streaming_is_decided_by_the_mixer(bidirectional: bool) -> None:
    stack = Stack(StackConfig(d_model=4, mixer="lru", bidirectional=bidirectional))
    assert stack.streaming is not bidirectional
    assert Stack(StackConfig(d_model=4, mixer="s5-bidirectional")).streaming is False
    if bidirectional:
        with pytest.raises(UserError, match="both ways"):
            stack.step(torch.zeros(1, 4), stack.initial_state(1))


def test_what_blocks_refuse() -> None:
    with pytest.raises(ConfigError, match="reads both ways by itself"):
        Bidirectional(BidirectionalConfig(d_model=4, mixer="s5-bidirectional"))
    with pytest.raises(ConfigError, match="settings"):
        BlockConfig(d_model=4, settings={"d_model": 3})
    with pytest.raises(UnknownNameError, match="did you mean 'min-gru'"):
        Block(BlockConfig(d_model=4, mixer="mingru"))
    with pytest.raises(ConfigError, match="depth"):
        StackConfig(d_model=4, depth=0)


def test_configuration_round_trip() -> None:
    config = StackConfig(
        d_model=4, mixer="s5", settings={"d_state": 6, "discretisation": "bilinear"}, depth=3
    )
    assert from_dict(StackConfig, to_dict(config)) == config
