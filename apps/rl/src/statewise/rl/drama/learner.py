"""Drama in training: act, remember, learn the world, learn to act in imagination.

Wang et al., "Drama: Mamba-Enabled Model-Based Reinforcement Learning Is Sample and Parameter Efficient",
2025.

Differs from the paper: the agent acts on the frame it sees, not on a foreseen one; environments are seeded
once; nothing crosses the end of an episode; what actor and critic are standardised by is frozen when they are
judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.errors import ConfigError
from statewise.core.train.device import derive_seed, seeded
from statewise.core.train.guard import check_step
from statewise.rl.acting import RandomActor
from statewise.rl.drama.imagine import behaviour_loss, dream, prefill
from statewise.rl.drama.laprop import LaProp
from statewise.rl.drama.network import DramaConfig, DramaNetwork
from statewise.rl.drama.policy import DramaActor
from statewise.rl.drama.replay import Replay, Window
from statewise.rl.drama.world import WorldConfig
from statewise.rl.environments.make import EnvironmentSpec, make, make_vector
from statewise.rl.environments.stream import Stream
from statewise.rl.interface import Interface
from statewise.rl.states import flat_state, shaped_state
from statewise.rl.tally import Tally

__all__ = ["Drama", "DramaTraining"]


@dataclass(frozen=True, kw_only=True)
class DramaTraining:
    """Settings of the training and, under `world`, of the world model."""

    world: dict[str, Any] = field(default_factory=dict)
    """Settings of the world model: mixer, width, depth, variables, classes, ..."""
    memory: str | None = None
    """The layer in the slot of the backbone: mamba2, mamba, gru, s5; the same as world.mixer."""
    actor: tuple[int, ...] = (128, 128)
    """Units of the actor's hidden layers."""
    critic: tuple[int, ...] = (128, 128)
    """Units of the critic's hidden layers."""
    reads: str = "latent"
    """What actor and critic see: the latent, or the picture that it decodes to."""
    steps: int = 20_000
    """Environment steps of a run."""
    environments: int = 4
    """N, environments side by side."""
    warmup: int = 1000
    """Environment steps of random actions before anything is learnt."""
    train_every: int = 16
    """Environment steps per update of world model, actor and critic."""
    world_alone: float = 0.0
    """Part of the run in which only the world model learns: what it imagines means nothing at first."""
    batch: int = 8
    """Windows of an update of the world model."""
    length: int = 32
    """Steps of a window."""
    starts: int = 64
    """Windows from which an update of actor and critic imagines."""
    context: int = 8
    """Real steps that imagination is led in by."""
    horizon: int = 12
    """Imagined steps."""
    capacity: int = 100_000
    """Steps of experience that are kept, of all environments together."""
    uniform: bool = False
    """Draw experience evenly instead of by how often it has been used."""
    rate: float = 1e-3
    """Learning rate of the world model."""
    behaviour_rate: float = 3e-4
    """Learning rate of actor and critic."""
    rate_warmup: int = 100
    """Updates over which both rates rise."""
    clip: float = 1000.0
    """Largest norm of a gradient of the world model."""
    behaviour_clip: float = 100.0
    """Largest norm of a gradient of actor and critic."""
    discount: float = 0.985
    """gamma."""
    trace: float = 0.95
    """lambda."""
    entropy: float = 1e-3
    """eta."""
    slow: float = 0.98
    """Part of the slow critic that stays at each update."""
    evaluate_every: int = 5000
    """Environment steps between evaluations that choose the weights."""

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "environments",
            "warmup",
            "train_every",
            "batch",
            "starts",
            "horizon",
            "context",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.length >= 2, "length", self.length, "at least 2")
        every = self.train_every
        require(every % self.environments == 0, "train_every", every, f"a multiple of {self.environments}")
        least = self.environments * (max(self.length, self.context) + 1)
        require(
            self.warmup >= least, "warmup", self.warmup, f"at least {least}, for one window per environment"
        )
        require(self.capacity >= 2 * least, "capacity", self.capacity, f"at least {2 * least}")
        for name in ("discount", "trace", "slow"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "above 0, at most 1")
        require(0 <= self.world_alone < 1, "world_alone", self.world_alone, "from 0 to below 1")
        require(self.rate > 0, "rate", self.rate, "more than 0")


class Drama:
    """A Drama agent in training.

    Args:
        config: the settings.
        spec: the environment.
        seed: of everything random.

    Raises:
        ConfigError: the actions of the environment are numbers.
    """

    family: ClassVar[str] = "drama"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "small": {
            # surer latents with more to say: a ball of one pixel is found sooner, and foreseen all the same
            "world": {"contrast": 3.0, "free_bits": 0.0, "representation_free_bits": 4.0},
            "reads": "picture",
            "steps": 10_000,
            "environments": 2,
            "train_every": 2,
            "world_alone": 0.3,
            "batch": 16,
            "length": 16,
            "rate": 3e-3,
            "behaviour_rate": 1e-3,
            "entropy": 1e-2,
        },
        "paper": {
            "world": {
                "variables": 32,
                "classes": 32,
                "width": 512,
                "hidden": 256,
                "encoder": "conv",
                "picture": "squared",
                "norm": "batch",
            },
            "actor": (256, 256, 256),
            "critic": (512, 512, 512),
            "environments": 1,
            "warmup": 1032,
            "train_every": 1,
            "batch": 16,
            "length": 128,
            "starts": 1024,
            "horizon": 16,
            "steps": 100_000,
            "rate": 4e-5,
            "behaviour_rate": 4e-5,
            "rate_warmup": 1000,
            "entropy": 3e-4,
        },
    }

    def __init__(self, config: DramaTraining, spec: EnvironmentSpec, seed: int) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        probe = make(spec)
        self.interface = Interface.of(probe)
        self._random = RandomActor(probe.action_space)
        dtype = probe.observation_space.dtype
        probe.close()
        if not self.interface.discrete:
            raise ConfigError(
                "drama chooses among classes of actions",
                where=f"environment '{spec.label}'",
                seen=self.interface.words(),
                expected="discrete actions",
                fix="choose s5-ppo for actions that are numbers",
            )
        self.stream = Stream(make_vector(spec, config.environments))
        with seeded(derive_seed(seed, "weights")):
            self.net = DramaNetwork(network_config(config, self.interface))
        n = config.environments
        self.replay = Replay(
            n, config.capacity // n, self.interface.observation, dtype, uniform=config.uniform
        )
        self.world_optimizer = LaProp(self.net.world, rate=config.rate, warmup=config.rate_warmup)
        self.optimizer = LaProp(_Behaviour(self.net), rate=config.behaviour_rate, warmup=config.rate_warmup)
        self.tally = Tally(n)
        self.steps = self.updates = 0
        self._acting = DramaActor(self.net, self.interface, greedy=False)
        self._acting.begin(n, 0)
        self._random.begin(n, derive_seed(seed, "random") % 2**31)
        self._spread = torch.tensor(-1.0)
        self._started = False

    @property
    def total(self) -> int:
        """Environment steps of the whole run."""
        return self.config.steps

    @property
    def network(self) -> DramaNetwork:
        """What a run saves."""
        return self.net

    def actor(self, *, greedy: bool) -> DramaActor:
        """The agent as it is now."""
        return DramaActor(self.net, self.interface, greedy=greedy)

    def advance(self) -> dict[str, float | None]:
        """Some steps in the environment and one update; during the warm-up, all of its steps."""
        config = self.config
        if not self._started:
            self.stream.reset(derive_seed(self.seed, "environments") % 2**31)
            self._started = True
        if self.steps < config.warmup:
            self._act(config.warmup - self.steps, random=True)
            return self.tally.row()
        with seeded(derive_seed(self.seed, "update", self.updates)):
            self._acting.generator.manual_seed(derive_seed(self.seed, "act", self.updates))
            self._act(config.train_every, random=False)
            generator = np.random.default_rng(derive_seed(self.seed, "replay", self.updates))
            row = self._learn_world(self.replay.draw_training(config.batch, config.length, generator))
            if self.updates >= config.world_alone * (config.steps - config.warmup) / config.train_every:
                ratio = config.batch / config.starts
                window = self.replay.draw_imagination(config.starts, config.context, ratio, generator)
                row |= self._learn_behaviour(window)
        self.updates += 1
        return row | self.tally.row()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that `restore` needs, the experience too."""
        parts = {
            "weights": self.net.state_dict(),
            "world_moments": self.world_optimizer.state(),
            "moments": self.optimizer.state(),
            "replay": self.replay.state(),
            "memory": {str(i): part for i, part in enumerate(flat_state(self._acting.state))},
        }
        tensors = {f"{name}/{key}": value for name, part in parts.items() for key, value in part.items()}
        tensors |= {
            "d": self._acting.d,
            "spread": self._spread,
            "observation": torch.from_numpy(np.ascontiguousarray(self.stream.observation)),
            "first": torch.from_numpy(self.stream.first),
        }
        note = {
            "steps": self.steps,
            "updates": self.updates,
            "environments": self.stream.snapshots(),
            "tally": self.tally.state(),
        }
        return tensors, note

    def restore(self, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.net.load_state_dict(part("weights/"))
        self.world_optimizer.restore(part("world_moments/"))
        self.optimizer.restore(part("moments/"))
        self.replay.restore(part("replay/"))
        memory = part("memory/")
        self._acting.state = shaped_state(self._acting.state, [memory[str(i)] for i in range(len(memory))])
        self._acting.d, self._spread = tensors["d"].clone(), tensors["spread"].clone()
        self.steps, self.updates = note["steps"], note["updates"]
        self.tally.restore(note["tally"])
        self.stream.restore(note["environments"], tensors["observation"].numpy(), tensors["first"].numpy())
        self._started = True

    def close(self) -> None:
        """Close the environments."""
        self.stream.env.close()

    def _act(self, steps: int, *, random: bool) -> None:
        self.net.eval()
        nothing = np.zeros(self.config.environments)
        for _ in range(-(-steps // self.config.environments)):
            actor = self._random if random else self._acting
            action = actor.act(self.stream.observation, nothing, self.stream.first.copy())
            step = self.stream.step(action)
            self.replay.add(step)
            self.tally.add(step)
            self.steps += self.config.environments
        self.net.train()

    def _learn_world(self, window: Window) -> dict[str, float | None]:
        loss = self.net.world.loss(*self._tensors(window))
        self.world_optimizer.clear()
        loss.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.world.parameters(), self.config.clip)
        self._check(loss.total, norm)
        self.world_optimizer.step()
        names = ("world_loss", "picture_loss", "reward_loss", "end_loss", "divergence")
        return dict(zip(names, (part.item() for part in loss), strict=True))

    def _learn_behaviour(self, window: Window) -> dict[str, float | None]:
        config, net = self.config, self.net
        observation, action, _, _, first = self._tensors(window)
        net.world.eval()
        z, d, state = prefill(net, observation, action, first)
        imagined = dream(net, z, d, state, horizon=config.horizon, discount=config.discount)
        net.world.train()
        net.standardiser.update(imagined.features[:, :-1])
        loss, facts, self._spread = behaviour_loss(
            net,
            imagined,
            self._spread,
            trace=config.trace,
            entropy=config.entropy,
            discount=config.discount,
        )
        self.optimizer.clear()
        loss.backward()
        parameters = [p for p in self.optimizer.parameters.values() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.behaviour_clip)
        self._check(loss, norm)
        self.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(net.slow_critic.parameters(), net.critic.parameters(), strict=True):
                slow.lerp_(fast, 1 - config.slow)
        return dict(facts)

    def _tensors(self, window: Window) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        flat = torch.from_numpy(self.interface.flat(window.observation))
        action = F.one_hot(torch.from_numpy(window.action), self.interface.classes).float()
        reward, end, first = (torch.from_numpy(part) for part in (window.reward, window.end, window.first))
        return flat, action, reward, end, first

    def _check(self, loss: Tensor, norm: Tensor) -> None:
        done = self.steps / self.config.steps
        check_step(
            loss.item(), norm.item(), model=self.net, step=self.updates, epoch=done, rate=self.config.rate
        )


class _Behaviour(torch.nn.Module):
    """The part of the network that learns in imagination."""

    def __init__(self, net: DramaNetwork) -> None:
        super().__init__()
        self.actor, self.critic = net.actor, net.critic


def network_config(config: DramaTraining, interface: Interface) -> DramaConfig:
    """The network of a run in an environment of this interface."""
    from statewise.core.config import from_dict

    values = {**config.world, "observation": list(interface.observation), "actions": interface.classes}
    if config.memory is not None:
        values["mixer"] = config.memory
        if config.memory != "mamba2" and "settings" not in config.world:
            values["settings"] = {}
    world = from_dict(WorldConfig, values, where="model drama, world")
    return DramaConfig(world=world, actor=config.actor, critic=config.critic, reads=config.reads)
