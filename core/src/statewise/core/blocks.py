"""Pre-norm residual blocks around any layer of the registry, stacks of them, and a both-ways wrapper.

    block      x <- x + mixer(norm(x));  x <- x + mlp(norm(x))
    stack      norm(block_K(... block_1(x)))
    Griffin    a stack whose mixers are rglru, rglru and local attention, over and over
    both ways  merge([forwards(x), flip(backwards(flip(x)))])

Each is a `Layer` itself: a whole stack trains on sequences, honours `reset` and `lengths`, and streams step
by step, as long as its mixers do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import config_class, from_dict, require
from statewise.core.errors import ConfigError
from statewise.core.layers import LAYERS, build
from statewise.core.layers.contract import Layer, Stateless
from statewise.core.layers.masking import flip, flip_reset
from statewise.core.layers.timed import TimedLayer, timed

__all__ = [
    "Bidirectional", "BidirectionalConfig", "Block", "BlockConfig", "GatedMLP", "Griffin", "GriffinConfig",
    "Stack", "StackConfig",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BidirectionalConfig:
    """Settings of `Bidirectional`."""

    d_model: int
    """D, features in and out."""
    mixer: str = "lru"
    """Name of the layer that is built twice; see `statewise layers`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the layer, without d_model."""

    def __post_init__(self) -> None:
        _check_mixer(self.d_model, self.settings)


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """Settings of `Block`."""

    d_model: int
    """D, features in and out."""
    mixer: str = "lru"
    """Name of the layer that mixes over time; see `statewise layers`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the layer, without d_model."""
    bidirectional: bool = False
    """Read the sequence both ways, with a causal mixer for each; the block then has no step."""
    mlp_ratio: float = 2.0
    """Hidden units of the gated MLP per feature."""
    dropout: float = 0.0
    """Probability of dropping an element of what a residual branch adds, in training."""

    def __post_init__(self) -> None:
        _check_mixer(self.d_model, self.settings)
        require(
            self.mlp_ratio * self.d_model >= 1,
            "mlp_ratio",
            self.mlp_ratio,
            "large enough for one hidden unit",
        )
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class StackConfig(BlockConfig):
    """Settings of `Stack`: those of its blocks, and how many there are."""

    depth: int = 2
    """K, blocks one after the other."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.depth > 0, "depth", self.depth, "at least 1")


@dataclass(frozen=True, kw_only=True)
class GriffinConfig:
    """Settings of `Griffin`."""

    d_model: int
    """D, features in and out."""
    depth: int = 3
    """K, blocks one after the other; every third mixes by attention."""
    d_recurrent: int | None = None
    """Units of the recurrence; 4/3 D when unset, rounded to a multiple of `heads`."""
    heads: int = 4
    """H, blocks of the recurrence's gates, and query heads of the attention; 2 H divides D."""
    window: int = 1024
    """W, steps that the attention sees."""
    mlp_ratio: float = 3.0
    """Hidden units of the gated MLP per feature."""
    dropout: float = 0.0
    """Probability of dropping an element of what a residual branch adds, in training."""

    def __post_init__(self) -> None:
        require(self.depth > 0, "depth", self.depth, "at least 1")
        require(self.heads > 0, "heads", self.heads, "at least 1")
        for block in self.blocks():
            check = LAYERS.load(block.mixer)
            from_dict(config_class(check), {"d_model": self.d_model, **block.settings}, where="Griffin")

    def blocks(self) -> list[BlockConfig]:
        """The configurations of the blocks, first to last."""
        units = self.d_recurrent or max(1, round(4 * self.d_model / (3 * self.heads))) * self.heads
        settings = {
            "rglru": {"d_recurrent": units, "heads": self.heads},
            "attention": {"heads": self.heads, "kv_heads": 1, "window": self.window},
        }
        mixers = ["attention" if number % 3 == 2 else "rglru" for number in range(self.depth)]
        shared = {"d_model": self.d_model, "mlp_ratio": self.mlp_ratio, "dropout": self.dropout}
        return [BlockConfig(mixer=mixer, settings=settings[mixer], **shared) for mixer in mixers]


class GatedMLP(nn.Module):
    """W_out (silu(W_gate x) * W_up x), the same at every step: (..., D) to (..., D).

    Shazeer, "GLU Variants Improve Transformer", 2020.

    Args:
        d_model: D, features in and out.
        hidden: units of the gate.
    """

    def __init__(self, d_model: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Bidirectional(Layer[Stateless]):
    """Two causal layers of one kind, one on the sequence and one on its flip, merged by a linear map.

    Each row is flipped within its own length and resets are moved to the step that is the first when read
    backwards, so that neither padding nor a neighbouring sequence leaks in.
    """

    streaming: ClassVar[bool] = False

    def __init__(self, config: BidirectionalConfig) -> None:
        super().__init__(config)
        self.forwards = build(config.mixer, d_model=config.d_model, **config.settings)
        self.backwards = build(config.mixer, d_model=config.d_model, **config.settings)
        if not self.forwards.streaming:
            raise ConfigError(
                f"the layer '{config.mixer}' reads both ways by itself",
                where="mixer",
                expected="a causal layer",
                fix="leave bidirectional unset",
            )
        self.merge = nn.Linear(2 * config.d_model, config.d_model)

    def sequence(
        self, x: Tensor, state: Stateless, reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Stateless]:
        ahead, _ = self.forwards(x, None, reset, lengths)
        back, _ = self.backwards(flip(x, lengths), None, flip_reset(reset, lengths), lengths)
        return self.merge(torch.cat([ahead, flip(back, lengths)], dim=-1)), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Stateless:
        return Stateless()


class Block(TimedLayer[Any]):
    """A pre-norm residual block: a mixer over time, then a gated MLP; its state is the mixer's.

    It knows of the length of steps if its mixer does.
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__(config)
        d = config.d_model
        if config.bidirectional:
            both = BidirectionalConfig(d_model=d, mixer=config.mixer, settings=config.settings)
            self.mixer: Layer[Any] = Bidirectional(both)
        else:
            self.mixer = build(config.mixer, d_model=d, **config.settings)
        self.streaming = self.mixer.streaming  # pyright: ignore[reportAttributeAccessIssue]  # decided by the mixer
        self.mixer_norm = nn.RMSNorm(d, eps=1e-6)
        self.mlp_norm = nn.RMSNorm(d, eps=1e-6)
        self.mlp = GatedMLP(d, int(config.mlp_ratio * d))
        self.dropout = nn.Dropout(config.dropout)

    def sequence(
        self,
        x: Tensor,
        state: Any,
        reset: Tensor | None,
        lengths: Tensor | None,
        elapsed: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        if elapsed is None:
            mixed, state = self.mixer(self.mixer_norm(x), state, reset, lengths)
        else:
            mixed, state = timed(self.mixer)(self.mixer_norm(x), state, reset, lengths, elapsed)
        return self._add(x, mixed), state

    def step(self, x_t: Tensor, state: Any, elapsed: Tensor | None = None) -> tuple[Tensor, Any]:
        if elapsed is None:
            mixed, state = self.mixer.step(self.mixer_norm(x_t), state)
        else:
            mixed, state = timed(self.mixer).step(self.mixer_norm(x_t), state, elapsed)
        return self._add(x_t, mixed), state

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Any:
        return self.mixer.initial_state(batch_size, device=device, dtype=dtype)

    def _add(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.dropout(mixed)
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class _Blocks(TimedLayer[tuple[Any, ...]]):
    """K blocks and a last norm; its state is the tuple of the blocks' states."""

    def __init__(self, config: Any, blocks: list[BlockConfig]) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList(Block(block) for block in blocks)
        self.streaming = self._blocks()[0].streaming  # pyright: ignore[reportAttributeAccessIssue]  # decided by the mixer
        self.norm = nn.RMSNorm(config.d_model, eps=1e-6)

    def sequence(
        self,
        x: Tensor,
        state: tuple[Any, ...],
        reset: Tensor | None,
        lengths: Tensor | None,
        elapsed: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Any, ...]]:
        after = []
        for block, before in zip(self._blocks(), state, strict=True):
            x, new = block(x, before, reset, lengths, elapsed)
            after.append(new)
        return self.norm(x), tuple(after)

    def step(
        self, x_t: Tensor, state: tuple[Any, ...], elapsed: Tensor | None = None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        after = []
        for block, before in zip(self._blocks(), state, strict=True):
            x_t, new = block.step(x_t, before, elapsed)
            after.append(new)
        return self.norm(x_t), tuple(after)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Any, ...]:
        return tuple(block.initial_state(batch_size, device=device, dtype=dtype) for block in self._blocks())

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))


class Stack(_Blocks):
    """K blocks around one kind of layer, and a last norm."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__(config, [config] * config.depth)


class Griffin(_Blocks):
    """Two blocks of the gated recurrence to one of local attention with a shared key head, and a last norm.

    De et al., "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language Models",
    2024. The recurrence carries what is far, the attention looks up exactly what is near; with `depth` below
    3 it is the paper's Hawk. Differs from the paper: the gate of the MLP is SiLU, the paper's GELU.
    """

    def __init__(self, config: GriffinConfig) -> None:
        super().__init__(config, config.blocks())


def _check_mixer(d_model: int, settings: dict[str, Any]) -> None:
    require(d_model > 0, "d_model", d_model, "at least 1")
    require(
        "d_model" not in settings, "settings", settings, "settings without d_model, which the block gives"
    )
