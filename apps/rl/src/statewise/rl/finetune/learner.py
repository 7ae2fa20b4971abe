"""Decision S4 going on in the environment: recurrent actor-critic from stored states.

    s_{t+1}, a_t = pi(s_t; o_t, a_{t-1}, R_t),      R_{t+1} = R_t - r_t
    critic   (Q(o_t, a_t, R_t) - r_t - gamma Q'(o_{t+1}, pi'(s_{t+1}; ...), R_{t+1}))^2
    actor    -Q(o_t, pi(s_t; ...), R_t) + c |what lies beyond [-1, 1]|^2

s_t is the state in which the policy acted, stored with the step, so that an update is one recurrent step and
no history is read again; no gradient flows into it. Q' and pi' are slow averages. State-space parameters
learn at a lower rate. Bar-David et al., "Decision S4: Efficient Sequence-Based RL via State Spaces Layers",
2023, section 3.3; the update is that of Lillicrap et al., "Continuous Control with Deep Reinforcement
Learning", 2016.

Differs from the paper: slow averages move at every update, the return asked for stays that of the policy
learnt from data, and what is out of bounds is pulled back by a penalty.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.errors import ConfigError
from statewise.core.train.config import FitConfig
from statewise.core.train.device import derive_seed, seeded
from statewise.core.train.guard import check_step
from statewise.core.train.optim import AdamW
from statewise.rl.environments.make import EnvironmentSpec, make, make_vector
from statewise.rl.environments.stream import Stream
from statewise.rl.finetune.critic import Critic
from statewise.rl.finetune.stored import Moment, StoredSteps
from statewise.rl.interface import Interface
from statewise.rl.models.policy import replace_rows
from statewise.rl.models.sequence import Inputs
from statewise.rl.offline.policy import SequenceActor
from statewise.rl.saved import Policy
from statewise.rl.states import flat_state, shaped_state
from statewise.rl.tally import Tally

__all__ = ["DS4Online", "DS4OnlineConfig"]


@dataclass(frozen=True, kw_only=True)
class DS4OnlineConfig:
    """Settings of the training; those of the policy are its own."""

    steps: int = 20_000
    """Environment steps of a run, all environments together."""
    environments: int = 4
    """N, environments side by side."""
    warmup: int = 1000
    """Environment steps before anything is learnt."""
    critic_only: int = 500
    """Updates of the critic before the policy moves."""
    act_steps: int = 16
    """Environment steps between updates."""
    updates: int = 8
    """Updates in a row."""
    batch: int = 64
    """Steps of an update."""
    capacity: int = 20_000
    """Steps that are kept, of all environments together."""
    critic_width: int = 128
    """Features of the critic."""
    critic_rate: float = 1e-3
    """Learning rate of the critic."""
    actor_rate: float = 1e-4
    """Learning rate of the policy."""
    slow_rate: float = 0.1
    """Rate of state-space parameters as a fraction of it."""
    discount: float = 0.99
    """gamma."""
    slow: float = 0.995
    """Part of the slow averages that stays at each update."""
    noise: float = 0.2
    """Deviation of the noise on actions in [-1, 1] at the start."""
    noise_end: float = 0.02
    """Deviation at the end; it falls linearly."""
    bounds: float = 1.0
    """c, weight of what lies beyond [-1, 1]."""
    clip: float = 1.0
    """Largest norm of a gradient."""
    evaluate_every: int = 2000
    """Environment steps between evaluations that choose the weights."""

    def __post_init__(self) -> None:
        for name in ("steps", "environments", "act_steps", "updates", "batch", "critic_width"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        n = self.environments
        require(self.act_steps % n == 0, "act_steps", self.act_steps, f"a multiple of {n}")
        require(self.warmup >= 4 * n, "warmup", self.warmup, f"at least {4 * n}")
        require(self.capacity >= 4 * n, "capacity", self.capacity, f"at least {4 * n}")
        for name in ("discount", "slow", "slow_rate"):
            require(0 < getattr(self, name) <= 1, name, getattr(self, name), "above 0, at most 1")
        for name in ("noise", "noise_end", "bounds"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")


class DS4Online:
    """A policy learnt from data, in training in the environment.

    Args:
        config: the settings.
        spec: the environment.
        seed: of everything random.
        start: the policy to go on from.

    Raises:
        ConfigError: the policy carries no state, or its actions are classes.
        DataError: it was made for other spaces.
    """

    family: ClassVar[str] = "sequence"
    needs_start: ClassVar[bool] = True
    """It goes on from a run."""

    def __init__(self, config: DS4OnlineConfig, spec: EnvironmentSpec, seed: int, start: Policy) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        probe = make(spec)
        self.interface = Interface.of(probe)
        probe.close()
        _refuse(start, self.interface, spec)
        self.facts = dict(start.facts)
        self.net: Any = copy.deepcopy(start.network).eval()
        settings = self.net.config
        with seeded(derive_seed(seed, "critic")):
            self.critic = Critic(settings.observation, settings.outputs, config.critic_width)
        self._slow_net, self._slow_critic = (_frozen(one) for one in (self.net, self.critic))
        fit = FitConfig(slow_rate=config.slow_rate, weight_decay=0.0)
        self._net_optimizer, self._critic_optimizer = AdamW(self.net, fit), AdamW(self.critic, fit)
        n = config.environments
        self.stream = Stream(make_vector(spec, n))
        self._state = self.net.initial_state(n)
        self._before, self._to_go = torch.zeros(n, settings.outputs), torch.zeros(n)
        parts = flat_state(self._state)
        self.stored = StoredSteps(n, config.capacity // n, settings.observation, settings.outputs, parts)
        self.tally = Tally(n)
        self.steps = self.updates = self.turns = 0
        self._started = False

    @property
    def total(self) -> int:
        """Environment steps of the whole run."""
        return self.config.steps

    @property
    def network(self) -> nn.Module:
        """What a run saves."""
        return self.net

    def actor(self, *, greedy: bool) -> SequenceActor:
        """The policy as it is now."""
        delayed = self.facts.get("delayed", False)
        return SequenceActor(self.net, self.interface, target=self.facts["target"], delayed=delayed)

    def advance(self) -> dict[str, float | None]:
        """Some steps in the environment and the updates that follow."""
        config = self.config
        if not self._started:
            self.stream.reset(derive_seed(self.seed, "environments") % 2**31)
            self._started = True
        steps = config.act_steps if self.steps >= config.warmup else config.warmup - self.steps
        with seeded(derive_seed(self.seed, "turn", self.turns)):
            for _ in range(-(-steps // config.environments)):
                self._act()
        row: dict[str, float | None] = {}
        generator = np.random.default_rng(derive_seed(self.seed, "draw", self.turns))
        for _ in range(config.updates):
            row |= self._learn(generator)
        self.turns += 1
        return row | self.tally.row()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that `restore` needs, the stored steps too."""
        parts = {
            "net": self.net.state_dict(),
            "critic": self.critic.state_dict(),
            "slow_net": self._slow_net.state_dict(),
            "slow_critic": self._slow_critic.state_dict(),
            "net_moments": self._net_optimizer.state(),
            "critic_moments": self._critic_optimizer.state(),
            "stored": self.stored.state(),
            "memory": {str(i): part for i, part in enumerate(flat_state(self._state))},
        }
        tensors = {f"{name}/{key}": value for name, part in parts.items() for key, value in part.items()}
        tensors |= {
            "before": self._before,
            "to_go": self._to_go,
            "observation": torch.from_numpy(np.ascontiguousarray(self.stream.observation)),
            "first": torch.from_numpy(self.stream.first),
        }
        note = {
            "steps": self.steps,
            "updates": self.updates,
            "turns": self.turns,
            "environments": self.stream.snapshots(),
            "tally": self.tally.state(),
        }
        return tensors, note

    def restore(self, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""

        def part(name: str) -> dict[str, Tensor]:
            return {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{name}/")}

        self.net.load_state_dict(part("net"))
        self.critic.load_state_dict(part("critic"))
        self._slow_net.load_state_dict(part("slow_net"))
        self._slow_critic.load_state_dict(part("slow_critic"))
        self._net_optimizer.restore(part("net_moments"))
        self._critic_optimizer.restore(part("critic_moments"))
        self.stored.restore(part("stored"))
        memory = part("memory")
        self._state = shaped_state(self._state, [memory[str(i)] for i in range(len(memory))])
        self._before, self._to_go = tensors["before"].clone(), tensors["to_go"].clone()
        self.steps, self.updates, self.turns = note["steps"], note["updates"], note["turns"]
        self.tally.restore(note["tally"])
        self.stream.restore(note["environments"], tensors["observation"].numpy(), tensors["first"].numpy())
        self._started = True

    def close(self) -> None:
        """Close the environments."""
        self.stream.env.close()

    @torch.no_grad()
    def _act(self) -> None:
        """One step in every environment, stored with the state it was decided in."""
        first = torch.from_numpy(self.stream.first.copy())
        self._state = replace_rows(self._state, self.net.initial_state(len(first)), first)
        self._before[first], self._to_go[first] = 0.0, float(self.facts["target"])
        seen = torch.from_numpy(self.interface.flat(self.stream.observation))
        now = Moment(seen, self._before, self._to_go, flat_state(self._state))
        said, after = self._decide(self.net, now)
        action = (said + self._deviation() * torch.randn(said.shape)).clamp(-1, 1)
        step = self.stream.step(self.interface.decode_numbers(action.numpy()))
        reward = torch.from_numpy(step.reward).float()
        ends = (torch.from_numpy(part.copy()) for part in (step.terminated, step.truncated))
        self.stored.add(now, action, reward, *ends)
        self._state, self._before = after, action
        self._to_go = self._to_go if self.facts.get("delayed", False) else self._to_go - reward
        self.tally.add(step)
        self.steps += self.config.environments

    def _learn(self, generator: np.random.Generator) -> dict[str, float | None]:
        """One update of the critic and, once it knows something, of the policy."""
        config, scale = self.config, self.net.config.scale
        now, action, reward, terminated, then = self.stored.draw(config.batch, generator)
        with torch.no_grad():
            following = self._decide(self._slow_net, then)[0].clamp(-1, 1)
            worth = self._worth(self._slow_critic, then, following)
            target = reward * 10 / scale + config.discount * torch.where(terminated, 0.0, worth)
        error = (self._worth(self.critic, now, action) - target).square().mean()
        self._move(error, self.critic, self._critic_optimizer, config.critic_rate)
        facts: dict[str, float | None] = {"critic_loss": error.item(), "value": target.mean().item()}
        if self.updates >= config.critic_only:
            said = self._decide(self.net, now)[0]
            inside = said.clamp(-1, 1)
            beyond = (said - inside.detach()).square().mean()
            loss = config.bounds * beyond - self._worth(self.critic, now, inside).mean()
            self._move(loss, self.net, self._net_optimizer, config.actor_rate)
            facts["actor_loss"] = loss.item()
        for slow, fast in ((self._slow_net, self.net), (self._slow_critic, self.critic)):
            _follow(slow, fast, config.slow)
        self.updates += 1
        return facts

    def _decide(self, net: Any, now: Moment) -> tuple[Tensor, Any]:
        """What a policy says in a moment, and its next state."""
        state = shaped_state(self._state, now.state)
        time = torch.zeros(len(now.to_go), dtype=torch.int64)
        return net.step(Inputs(now.observation, now.before, now.to_go, time), state)

    def _worth(self, critic: Critic, now: Moment, action: Tensor) -> Tensor:
        return critic(self.net.standardised(now.observation), action, now.to_go / self.net.config.scale)

    def _move(self, loss: Tensor, model: nn.Module, optimizer: AdamW, rate: float) -> None:
        optimizer.clear()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(optimizer.parameters, self.config.clip)
        done = self.steps / self.config.steps
        check_step(loss.item(), norm.item(), model=model, step=self.updates, epoch=done, rate=rate)
        optimizer.step(rate)

    def _deviation(self) -> float:
        done = min(1.0, self.steps / self.config.steps)
        return self.config.noise + done * (self.config.noise_end - self.config.noise)


def _refuse(start: Policy, interface: Interface, spec: EnvironmentSpec) -> None:
    """Raise unless the policy can go on in this environment."""
    start.interface.require_same(interface, model=str(start.path), environment=spec.label)
    network: Any = start.network
    if start.family != "sequence" or not (network.whole and network.wants_return) or interface.discrete:
        raise ConfigError(
            "cannot be trained on from stored states",
            where=f"--init {start.path}",
            seen=f"{start.model}, {interface.words()}",
            expected="a run of ds4 whose actions are numbers",
            fix="learn from data first: rl fit DATA --model ds4",
        )


def _frozen(network: Any) -> Any:
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def _follow(slow: nn.Module, fast: nn.Module, stays: float) -> None:
    for one, other in zip(slow.parameters(), fast.parameters(), strict=True):
        one.lerp_(other, 1 - stays)
