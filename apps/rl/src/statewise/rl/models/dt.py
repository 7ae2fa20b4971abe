"""Decision Transformer: a return, an observation and an action per step as three tokens of a causal
transformer.

    tokens   (R_t, o_t, a_t), each mapped to E and given a learnt embedding of the step t
    action   a_t from the output at o_t, which sees R_t, o_t and everything before

Chen et al., "Decision Transformer: Reinforcement Learning via Sequence Modeling", 2021.

Shapes: tokens (B, 3 L, E). With 3 layers, E = 128 and 1,000 embedded steps it has 727,567 parameters at 11
numbers of an observation and 3 of an action (Hopper), the unused predictions of return and observation
included.

Differs from the paper: sequences are padded on the right, which the causal mask and embeddings of absolute
steps make the same; no token for an action of padding; classes have a linear map in place of the tanh. An
episode longer than the embedded steps goes on with the last embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.rl.models.sequence import Inputs, SequenceConfig, SequencePolicy

__all__ = ["DT", "Cache", "DTConfig", "Window"]


@dataclass(frozen=True, kw_only=True)
class DTConfig(SequenceConfig):
    """Settings of `DT`."""

    context: int = 20
    """K, steps it sees."""
    width: int = 128
    """E, features of a token."""
    depth: int = 3
    """Layers."""
    heads: int = 1
    """Heads of attention."""
    dropout: float = 0.1
    """Probability of dropping an element, in training."""
    longest: int = 1000
    """Steps of an episode that have an embedding."""
    extra_heads: bool = True
    """The maps to the next return and observation, which the loss does not use."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("context", "width", "depth", "heads", "longest"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        require(self.width % self.heads == 0, "heads", self.heads, f"a divisor of {self.width}")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


class Window(NamedTuple):
    """The last K steps of an episode, which a step reads again."""

    observation: Tensor
    """(B, K, D), the first `filled` of them."""
    before: Tensor
    """(B, K, A)."""
    to_go: Tensor
    """(B, K)."""
    time: Tensor
    """(B, K)."""
    filled: Tensor
    """(B,) int64, how many of them."""


class Cache(NamedTuple):
    """Keys and values of all tokens of an episode, for `cached_step`."""

    keys: Tensor
    """(layers, B, tokens, E)."""
    values: Tensor


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP, as in GPT-2, with ReLU."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.maps, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Tokens (B, M, E), with keys and values (B, P, E) of those before, to tokens, keys and values."""
        query, key, value = self.maps(self.attention_norm(x)).chunk(3, -1)
        if past is not None:
            key, value = torch.cat([past[0], key], 1), torch.cat([past[1], value], 1)
        new, every = query.shape[1], key.shape[1]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        visible = torch.ones(new, every, dtype=torch.bool, device=x.device).tril(every - new)
        rate = self.rate if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, dropout_p=rate)
        x = x + self.dropout(self.out(y.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.down(F.relu(self.up(self.mlp_norm(x))))), (key, value)


class DT(SequencePolicy):
    """The policy."""

    whole: ClassVar[bool] = False
    presets: ClassVar[dict[str, dict[str, Any]]] = {"small": {"width": 64, "depth": 2}, "paper": {}}
    config: DTConfig

    def __init__(self, config: DTConfig) -> None:
        super().__init__(config)
        width = config.width
        self.time = nn.Embedding(config.longest, width)
        self.returns = nn.Linear(1, width)
        self.observations = nn.Linear(config.observation, width)
        self.actions = nn.Linear(config.outputs, width)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.heads, config.dropout) for _ in range(config.depth)
        )
        self.last_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.say_action = nn.Linear(width, config.outputs)
        if config.extra_heads:
            self.say_observation = nn.Linear(width, config.observation)
            self.say_return = nn.Linear(width, 1)
        self.apply(_initialise)

    def forward(self, inputs: Inputs) -> Tensor:
        r, o, a = self._tokens(inputs)
        # the action taken at t is the `before` of t + 1; that of the last step is not needed
        a = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], 1)
        tokens = torch.stack([r, o, a], 2).flatten(1, 2)
        x = self.dropout(self.norm(tokens))
        for block in self.blocks:
            x, _ = block(x)
        return self._said(self.last_norm(x[:, 1::3]))

    def step(self, inputs: Inputs, state: Window) -> tuple[Tensor, Window]:
        state = _pushed(state, inputs)
        used = int(state.filled.max())
        window = Inputs(*(part[:, :used] for part in state[:4]))
        said = self.forward(window)
        rows = torch.arange(len(said), device=said.device)
        return said[rows, state.filled - 1], state

    def initial_state(self, batch_size: int) -> Window:
        k, config = self.config.context, self.config
        zeros = torch.zeros
        return Window(
            zeros(batch_size, k, config.observation),
            zeros(batch_size, k, config.outputs),
            zeros(batch_size, k),
            zeros(batch_size, k, dtype=torch.int64),
            zeros(batch_size, dtype=torch.int64),
        )

    def empty_cache(self, batch_size: int) -> Cache:
        """The cache before the first step of an episode."""
        empty = torch.zeros(self.config.depth, batch_size, 0, self.config.width)
        return Cache(empty, empty)

    def cached_step(self, inputs: Inputs, cache: Cache) -> tuple[Tensor, Cache]:
        """One step of an episode of at most K steps, earlier tokens read from the cache.

        As `step` while the window still holds the whole episode: beyond it, tokens in the window depend on
        tokens that have left it, and a cache would be another model.
        """
        once = Inputs(*(None if part is None else part[:, None] for part in inputs))  # pyright: ignore[reportArgumentType]
        r, o, _ = self._tokens(once)
        fresh = torch.stack([r, o], 2).flatten(1, 2)
        if cache.keys.shape[2]:  # the action that was taken belongs to the step before
            earlier = self.actions(inputs.before) + self.time(
                (inputs.time - 1).clamp(max=self.config.longest - 1)
            )
            fresh = torch.cat([earlier[:, None], fresh], 1)
        x = self.norm(fresh)
        keys, values = [], []
        for layer, block in enumerate(self.blocks):
            x, (key, value) = block(x, (cache.keys[layer], cache.values[layer]))
            keys.append(key)
            values.append(value)
        return self._said(self.last_norm(x[:, -1])), Cache(torch.stack(keys), torch.stack(values))

    def _tokens(self, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """The three tokens of every step, (B, L, E) each; the action's is that of the action before."""
        time = inputs.time.clamp(max=self.config.longest - 1)
        when = self.time(time)
        r = self.returns(inputs.to_go[..., None] / self.config.scale) + when
        o = self.observations(self.standardised(inputs.observation)) + when
        a = self.actions(inputs.before) + self.time((time - 1).clamp(min=0))
        return r, o, a

    def _said(self, x: Tensor) -> Tensor:
        said = self.say_action(x)
        return said if self.config.discrete else torch.tanh(said)


def _initialise(module: nn.Module) -> None:
    """GPT-2's: small normal weights, zero biases."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _pushed(state: Window, inputs: Inputs) -> Window:
    """The window with one more step: written behind the last one, or all moved by one where it is full."""
    size = state.observation.shape[1]
    full = state.filled == size

    def put(old: Tensor, new: Tensor) -> Tensor:
        rows = full.reshape(-1, *[1] * (old.ndim - 1))
        moved = torch.where(rows, torch.cat([old[:, 1:], old[:, -1:]], 1), old)
        place = state.filled.clamp(max=size - 1)
        moved = moved.clone()
        moved[torch.arange(len(place)), place] = new.to(old.dtype)
        return moved

    return Window(
        put(state.observation, inputs.observation),
        put(state.before, inputs.before),
        put(state.to_go, inputs.to_go),
        put(state.time, inputs.time),
        (state.filled + 1).clamp(max=size),
    )
