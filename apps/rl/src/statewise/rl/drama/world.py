"""The world model of Drama: what is seen becomes latents, a state space backbone foresees the next ones.

    z_t ~ q(z | o_t)                     encoder, from the frame alone, so that all steps are encoded at once
    d_t = backbone(z_1, a_1, ..., z_t, a_t)
    z'_{t+1} ~ p(z | d_t),   r'_t, e'_t from d_t,   o'_t from z_t

    L = D(o, o') + CE(r) + BCE(e) + max(1, KL(sg q_{t+1} || p_t)) + 0.1 max(1, KL(q_{t+1} || sg p_t))

D is the squared error |o' - o|^2, or for pictures the divergence of pixels taken as chances, KL(o || o'). A
ball of one pixel is worth 1 to the first and log of the number of places to the second, and a sigmoid that is
sure of darkness lets no gradient of the first through: on small games only the second finds the ball.

Wang et al., "Drama: Mamba-Enabled Model-Based Reinforcement Learning Is Sample and Parameter Efficient",
2025. With 64 x 64 frames in colour, 18 actions and the preset `paper` it has 7,161,603 parameters.

Shapes: frames (B, L, H W C) in [0, 1]; z (B, L, V C) one-hot; d (B, L, D); `first` (B, L) where an episode
begins.

Differs from the paper: the backbone's state and the foreseeing stop at the end of an episode; feature maps
are normalised over channels and places of one frame (the preset `paper` keeps batch statistics); the slot of
the backbone takes any streaming layer; except in the preset `paper`, pictures are judged by the divergence
and small ones have an MLP in place of convolutions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.layers import build
from statewise.core.layers.contract import Layer
from statewise.rl.drama.latent import divergence, mixed, sample
from statewise.rl.drama.twohot import TwoHot

__all__ = ["Backbone", "WorldConfig", "WorldLoss", "WorldModel"]

CHANNELS = (1, 2, 3, 4, 4)
SMALLEST = 4
FLAT = 1024
"""Numbers of a picture up to which `auto` takes an MLP."""


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Settings of `WorldModel`."""

    observation: tuple[int, ...]
    """(H, W, C) of images of 2^k x 2^k pixels, (D,) of vectors."""
    actions: int
    """Number of classes of an action."""
    variables: int = 16
    """V, categorical variables of a latent."""
    classes: int = 16
    """C, classes of each."""
    channels: int = 16
    """Feature maps of the first convolution."""
    encoder: str = "auto"
    """conv, mlp, or auto: an MLP for pictures of up to 1,024 numbers. Vectors always have an MLP."""
    picture: str = "divergence"
    """The error of pictures: squared as in the paper, or divergence of pixels taken as chances."""
    contrast: float = 1.0
    """Factor on the first weights of the posterior: latents drawn almost evenly teach little."""
    norm: str = "frame"
    """Normalisation of feature maps: frame, or batch as in the paper."""
    width: int = 128
    """D, features of the backbone."""
    depth: int = 2
    """Layers of the backbone."""
    mixer: str = "mamba2"
    """The layer in the slot: mamba2, mamba, gru, s5, ..."""
    settings: dict[str, Any] = field(default_factory=lambda: {"d_state": 16})
    """Settings of the layer."""
    hidden: int = 128
    """Units of the heads of reward and end."""
    free_bits: float = 1.0
    """Least divergence that trains what is foreseen, of the mean over batch and time."""
    representation: float = 0.1
    """Weight of the divergence that trains the encoder."""
    representation_free_bits: float = 1.0
    """Least divergence that trains the encoder."""

    def __post_init__(self) -> None:
        for name in ("actions", "variables", "classes", "channels", "width", "depth", "hidden"):
            require(getattr(self, name) > 0, name, getattr(self, name), "at least 1")
        require(self.contrast > 0, "contrast", self.contrast, "above 0")
        require(self.norm in ("frame", "batch"), "norm", self.norm, "frame or batch")
        require(self.encoder in ("conv", "mlp", "auto"), "encoder", self.encoder, "conv, mlp or auto")
        require(self.picture in ("squared", "divergence"), "picture", self.picture, "squared or divergence")
        shape = self.observation
        square = (
            len(shape) == 3 and shape[0] == shape[1] and shape[0] >= 8 and (shape[0] & (shape[0] - 1)) == 0
        )
        expected = "(D,), or (H, W, C) with H = W a power of two of at least 8"
        require(len(shape) == 1 or square, "observation", shape, expected)

    @property
    def latent(self) -> int:
        """Numbers of a latent."""
        return self.variables * self.classes

    @property
    def pixels(self) -> int:
        """Numbers of an observation."""
        return math.prod(self.observation)

    @property
    def pictures(self) -> bool:
        """Whether observations are pictures, whose numbers lie from 0 to 1."""
        return len(self.observation) == 3

    @property
    def convolves(self) -> bool:
        """Whether encoder and decoder are convolutions."""
        small = self.encoder == "auto" and self.pixels <= FLAT
        return self.pictures and self.encoder != "mlp" and not small


class WorldLoss(NamedTuple):
    """The parts of the loss, scalars, and what the policy can start from."""

    total: Tensor
    picture: Tensor
    reward: Tensor
    end: Tensor
    divergence: Tensor
    """KL(q || p) before the free bits."""


class Backbone(Layer[tuple[Any, ...]]):
    """Pre-norm residual layers without an MLP between them, and a last norm: (B, L, D) to (B, L, D)."""

    def __init__(self, config: WorldConfig) -> None:
        super().__init__(_Width(config.width))
        d = config.width
        self.norms = nn.ModuleList(nn.RMSNorm(d, eps=1e-5) for _ in range(config.depth))
        self.mixers = nn.ModuleList(
            build(config.mixer, d_model=d, **config.settings) for _ in range(config.depth)
        )
        self.norm = nn.RMSNorm(d, eps=1e-5)

    def sequence(
        self, x: Tensor, state: tuple[Any, ...], reset: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        after = []
        for norm, mixer, before in zip(self.norms, self.mixers, state, strict=True):
            y, new = mixer(norm(x), before, reset, lengths)
            x = x + y
            after.append(new)
        return self.norm(x), tuple(after)

    def step(self, x_t: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        after = []
        for norm, mixer, before in zip(self.norms, self.mixers, state, strict=True):
            y, new = mixer.step(norm(x_t), before)  # pyright: ignore[reportCallIssue]
            x_t = x_t + y
            after.append(new)
        return self.norm(x_t), tuple(after)

    def initial_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Any, ...]:
        mixers: list[Layer[Any]] = list(self.mixers)  # pyright: ignore[reportAssignmentType]
        return tuple(mixer.initial_state(batch_size, device=device, dtype=dtype) for mixer in mixers)


class WorldModel(nn.Module):
    """Encoder, backbone, and heads for the next latent, the picture, the reward and the end."""

    def __init__(self, config: WorldConfig) -> None:
        super().__init__()
        self.config = config
        self.twohot = TwoHot()
        latent, d = config.latent, config.width
        self.encoder, features = _encoder(config)
        self.posterior = nn.Linear(features, latent)
        with torch.no_grad():
            self.posterior.weight.mul_(config.contrast)
        self.join = nn.Sequential(nn.Linear(latent + config.actions, d), nn.RMSNorm(d, eps=1e-5), nn.SiLU())
        self.backbone = Backbone(config)
        self.prior = nn.Linear(d, latent)
        self.decoder = _decoder(config, features)
        if config.convolves:  # half the time of both on a processor, the same numbers
            self.encoder.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            self.decoder.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.reward = _head(d, config.hidden, self.twohot.bins)
        self.end = _head(d, config.hidden, 1)

    def encode(self, observation: Tensor) -> Tensor:
        """Observations (..., pixels) as log-probabilities of latents (..., V, C)."""
        flat = observation.reshape(-1, observation.shape[-1])
        if self.config.convolves:
            flat = flat.reshape(-1, *self.config.observation).movedim(-1, 1)
        logits = self.posterior(self.encoder(flat)).reshape(
            *observation.shape[:-1], self.config.variables, self.config.classes
        )
        return mixed(logits)

    def decode(self, z: Tensor) -> Tensor:
        """Latents (..., V C) as observations (..., pixels)."""
        decoded = self._decoded(z)
        return decoded.sigmoid() if self.config.pictures else decoded

    def foresee(self, d: Tensor) -> Tensor:
        """Log-probabilities (..., V, C) of the next latents."""
        logits = self.prior(d).reshape(*d.shape[:-1], self.config.variables, self.config.classes)
        return mixed(logits)

    def loss(
        self, observation: Tensor, action: Tensor, reward: Tensor, end: Tensor, first: Tensor
    ) -> WorldLoss:
        """The loss on windows of experience.

        Args:
            observation: (B, L, pixels).
            action: (B, L, A) one-hot, chosen on the observation of the same step.
            reward: (B, L), that followed.
            end: (B, L) bool, terminated by that action.
            first: (B, L) bool, the first step of an episode.
        """
        config = self.config
        posterior = self.encode(observation)
        z = sample(posterior).flatten(-2)
        d, _ = self.backbone(self.join(torch.cat([z, action], -1)), None, first)
        picture = self._picture_error(z, observation).sum(-1).mean()
        rewards = self.twohot.loss(self.reward(d), reward).mean()
        ends = F.binary_cross_entropy_with_logits(self.end(d)[..., 0], end.to(d.dtype))
        ahead, found = self.foresee(d[:, :-1]), posterior[:, 1:]
        follows = ~first[:, 1:]
        dynamics = divergence(found.detach(), ahead)[follows].mean()
        representation = divergence(found, ahead.detach())[follows].mean()
        total = picture + rewards + ends
        total = total + dynamics.clamp(min=config.free_bits)
        total = total + config.representation * representation.clamp(min=config.representation_free_bits)
        return WorldLoss(total, picture, rewards, ends, dynamics)

    def _decoded(self, z: Tensor) -> Tensor:
        """Observations (..., pixels); of pictures the logits."""
        flat = self.decoder(z.reshape(-1, z.shape[-1]))
        if flat.ndim == 4:
            flat = flat.movedim(1, -1).flatten(1)
        return flat.reshape(*z.shape[:-1], -1)

    def _picture_error(self, z: Tensor, observation: Tensor) -> Tensor:
        """What the decoder gets wrong in each number, (..., pixels)."""
        if not self.config.pictures or self.config.picture == "squared":
            return (self.decode(z) - observation).square()
        dark = 1 - observation
        entropy = -(torch.xlogy(observation, observation) + torch.xlogy(dark, dark))
        decoded = self._decoded(z)
        return F.binary_cross_entropy_with_logits(decoded, observation, reduction="none") - entropy


@dataclass(frozen=True)
class _Width:
    d_model: int


def _encoder(config: WorldConfig) -> tuple[nn.Module, int]:
    """The encoder and the number of its features: halving convolutions down to 4 x 4 places, or an MLP."""
    if not config.convolves:
        width = 2 * config.width
        layers = [nn.Linear(config.pixels, width), nn.RMSNorm(width), nn.SiLU()]
        return nn.Sequential(*layers, nn.Linear(width, width), nn.RMSNorm(width), nn.SiLU()), width
    halvings = int(math.log2(config.observation[0] // SMALLEST))
    channels = [config.observation[2], *(config.channels * times for times in CHANNELS[: halvings + 1])]
    layers: list[nn.Module] = []
    for place in range(halvings + 1):
        stride = 1 if place == 0 else 2
        layers += [
            nn.Conv2d(channels[place], channels[place + 1], 5, stride=stride, padding=2),
            _norm(config, channels[place + 1]),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers, nn.Flatten()), channels[-1] * SMALLEST**2


def _decoder(config: WorldConfig, features: int) -> nn.Module:
    """The encoder backwards, from a latent."""
    if not config.convolves:
        return nn.Sequential(
            nn.Linear(config.latent, features),
            nn.RMSNorm(features),
            nn.SiLU(),
            nn.Linear(features, config.pixels),
        )
    halvings = int(math.log2(config.observation[0] // SMALLEST))
    first = [config.channels * times for times in CHANNELS[: halvings + 1]]
    channels = [first[-1], *reversed(first)]
    stem: list[nn.Module] = [
        nn.Linear(config.latent, features),
        nn.Unflatten(1, (first[-1], SMALLEST, SMALLEST)),
        _norm(config, first[-1]),
        nn.SiLU(),
    ]
    steps: list[nn.Module] = []
    for place in range(halvings):
        before, after = channels[place + 1], channels[place + 2]
        steps += [
            nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1),
            _norm(config, after),
            nn.SiLU(),
        ]
    last = nn.ConvTranspose2d(channels[-1], config.observation[2], 5, padding=2)
    return nn.Sequential(*stem, *steps, last)


def _norm(config: WorldConfig, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if config.norm == "batch" else nn.GroupNorm(1, channels)


def _head(d: int, hidden: int, outputs: int) -> nn.Sequential:
    head = nn.Sequential(
        nn.Linear(d, hidden), nn.RMSNorm(hidden, eps=1e-5), nn.SiLU(), nn.Linear(hidden, outputs)
    )
    if outputs > 1:
        nn.init.zeros_(head[-1].weight)  # pyright: ignore[reportArgumentType]  # even at the start: no reward is foreseen
        nn.init.zeros_(head[-1].bias)  # pyright: ignore[reportArgumentType]
    return head
