"""Proximal policy optimisation for agents with memory.

Rollouts of T steps in N environments; the loss reads each environment's T steps at once, from the memory it
had at their start, with resets where episodes begin. Minibatches are whole environments, never single steps.

    L = -E[min(rho A, clip(rho, 1 - eps, 1 + eps) A)] + c_v E[(v - A - v_old)^2] - c_e E[entropy]

Schulman et al., "Proximal Policy Optimization Algorithms", 2017; sequences as in Lu et al., "Structured State
Space Models for In-Context Reinforcement Learning", 2023. A truncated episode is bootstrapped with the value
of its last observation, read by the memory of that moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from statewise.core.config import require
from statewise.core.train.config import FitConfig
from statewise.core.train.device import derive_seed, seeded
from statewise.core.train.guard import check_step
from statewise.core.train.optim import AdamW
from statewise.rl.environments.make import EnvironmentSpec, make, make_vector
from statewise.rl.environments.stream import Stream
from statewise.rl.interface import Interface
from statewise.rl.models.agent import Agent, AgentConfig
from statewise.rl.models.policy import AgentActor, draw, log_likelihood, replace_rows
from statewise.rl.returns import advantages
from statewise.rl.states import flat_state, shaped_state
from statewise.rl.tally import Tally

__all__ = ["PPO", "PPOConfig"]


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of the agent and of its training."""

    memory: str = "s5"
    """The layer in the memory slot; mlp for none."""
    width: int = 64
    """Features of the memory and of the heads."""
    depth: int = 1
    """Blocks of memory."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the layer."""
    last_action: bool = True
    """Whether the policy reads the action before; with it, actions can stand in for memory."""
    steps: int = 200_000
    """Environment steps of a run, all environments together."""
    environments: int = 16
    """N, environments side by side."""
    rollout: int = 128
    """T, steps of each environment between updates."""
    epochs: int = 6
    """Passes over a rollout."""
    minibatches: int = 4
    """Parts of a rollout, each of whole environments."""
    learning_rate: float = 1e-3
    """Rate of Adam at the start; it falls linearly."""
    slow_rate: float = 0.5
    """Rate of state-space parameters as a fraction of it."""
    discount: float = 0.99
    """gamma."""
    trace: float = 0.95
    """lambda of the advantages."""
    clip: float = 0.2
    """eps."""
    entropy: float = 0.005
    """c_e."""
    value: float = 0.5
    """c_v."""
    norm: float = 0.5
    """Largest norm of a gradient."""
    reward_scale: float | None = None
    """Factor on rewards; None: one over the running deviation of discounted returns."""
    evaluate_every: int = 10_000
    """Environment steps between evaluations that choose the weights."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "steps", "environments", "rollout", "epochs", "minibatches"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        parts = self.minibatches
        require(self.environments % parts == 0, "minibatches", parts, f"a divisor of {self.environments}")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")
        for name in ("discount", "trace"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "from 0 to 1")
        require(self.clip > 0, "clip", self.clip, "more than 0")
        require(self.norm > 0, "norm", self.norm, "more than 0")
        require(self.evaluate_every >= 1, "evaluate_every", self.evaluate_every, "at least 1")


@dataclass
class Rollout:
    """T steps of N environments; (N, T) unless said."""

    x: Tensor
    """(N, T, D), inputs of the agent."""
    reset: Tensor
    """bool, where an episode begins."""
    action: Tensor
    """Classes, or numbers (N, T, A)."""
    log_likelihood: Tensor
    """Of the actions when they were drawn."""
    advantage: Tensor
    target: Tensor
    """What the value should have been."""
    valid: Tensor
    """bool, steps that count."""


class PPO:
    """An agent in training.

    Args:
        config: the settings.
        spec: the environment.
        seed: of everything random.
    """

    def __init__(self, config: PPOConfig, spec: EnvironmentSpec, seed: int) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.stream = Stream(make_vector(spec, config.environments))
        probe = make(spec)
        self.interface = Interface.of(probe)
        probe.close()
        with seeded(derive_seed(seed, "weights")):
            self.agent = Agent(agent_config(config, self.interface))
        slow = FitConfig(learning_rate=config.learning_rate, slow_rate=config.slow_rate)
        self.optimizer = AdamW(self.agent, slow)
        self.steps = self.iteration = 0
        self.tally = Tally(config.environments)
        self._returns = np.zeros(config.environments)
        self._moments = np.zeros(3)
        self._memory = self.agent.initial_state(config.environments)
        self._before = np.zeros((config.environments, self.interface.action_width), np.float32)
        self._started = False

    @property
    def total(self) -> int:
        """Environment steps of the whole run."""
        return self.config.steps

    @property
    def network(self) -> Agent:
        """What a run saves."""
        return self.agent

    def actor(self, *, greedy: bool) -> AgentActor:
        """The agent as it is now."""
        return AgentActor(self.agent, self.interface, greedy=greedy)

    def advance(self) -> dict[str, float | None]:
        """One rollout and the updates on it; what is worth logging."""
        if not self._started:
            self.stream.reset(derive_seed(self.seed, "environments") % 2**31)
            self._started = True
        with seeded(derive_seed(self.seed, "iteration", self.iteration)):
            rollout = self._collect()
            row = self._update(rollout)
        if self.agent.standardiser is not None:
            self.agent.standardiser.update(rollout.x[..., : self.agent.size])
        self.iteration += 1
        self.steps += self.config.environments * self.config.rollout
        return row | self.tally.row()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that `restore` needs: tensors and plain values."""
        tensors = {f"weights/{name}": value for name, value in self.agent.state_dict().items()}
        tensors |= {f"moments/{name}": value for name, value in self.optimizer.state().items()}
        tensors |= {f"memory/{i}": part for i, part in enumerate(flat_state(self._memory))}
        tensors |= {
            "observation": torch.from_numpy(np.ascontiguousarray(self.stream.observation)),
            "first": torch.from_numpy(self.stream.first),
            "before": torch.from_numpy(self._before),
            "returns": torch.from_numpy(self._returns),
            "return_moments": torch.from_numpy(self._moments),
        }
        note = {
            "steps": self.steps,
            "iteration": self.iteration,
            "environments": self.stream.snapshots(),
            "tally": self.tally.state(),
        }
        return tensors, note

    def restore(self, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.agent.load_state_dict(part("weights/"))
        self.optimizer.restore(part("moments/"))
        memory = part("memory/")
        self._memory = shaped_state(self._memory, [memory[str(i)] for i in range(len(memory))])
        self._before = tensors["before"].numpy().copy()
        self._returns, self._moments = (
            tensors["returns"].numpy().copy(),
            tensors["return_moments"].numpy().copy(),
        )
        self.steps, self.iteration = note["steps"], note["iteration"]
        self.tally.restore(note["tally"])
        self.stream.restore(note["environments"], tensors["observation"].numpy(), tensors["first"].numpy())
        self._started = True

    def close(self) -> None:
        """Close the environments."""
        self.stream.env.close()

    @torch.no_grad()
    def _collect(self) -> Rollout:
        config, agent, stream = self.config, self.agent, self.stream
        self._first_memory = self._memory
        columns: dict[str, list[Any]] = {}
        for _ in range(config.rollout):
            first = torch.from_numpy(stream.first.copy())
            x, memory = self._input(stream.observation, first)
            output, memory = agent.step(x, memory)
            drawn = draw(agent, output[:, :-1], torch.default_generator)
            likelihood, _ = log_likelihood(agent, output[:, :-1], drawn)
            action = drawn.numpy()
            if not self.interface.discrete:
                action = self.interface.decode_numbers(action)
            step = stream.step(action)
            self._memory, self._before = memory, self.interface.encode_action(action)
            self.tally.add(step)
            bootstrap = np.zeros(config.environments)
            if step.truncated.any():
                after = self._joined(step.successor)
                bootstrap = agent.step(after, memory)[0][:, -1].numpy() * step.truncated
            for name, value in {
                "x": x,
                "first": first,
                "action": drawn,
                "likelihood": likelihood,
                "value": output[:, -1],
                "reward": torch.from_numpy(self._scaled(step.reward, step.done)),
                "bootstrap": torch.from_numpy(bootstrap),
                "terminated": torch.from_numpy(step.terminated),
                "done": torch.from_numpy(step.done),
                "valid": torch.from_numpy(step.valid),
            }.items():
                columns.setdefault(name, []).append(value)
        return self._judged({name: torch.stack(parts, 1) for name, parts in columns.items()})

    def _judged(self, steps: dict[str, Tensor]) -> Rollout:
        """A rollout with its advantages."""
        last_x, memory = self._input(self.stream.observation, torch.from_numpy(self.stream.first.copy()))
        last = self.agent.step(last_x, memory)[0][:, -1]
        value = steps["value"].double().numpy()
        ahead = np.concatenate([value[:, 1:], last.double().numpy()[:, None]], 1)
        done = steps["done"].numpy()
        successor = np.where(done, steps["bootstrap"].numpy(), ahead)
        gain = advantages(
            steps["reward"].numpy(),
            value,
            successor,
            steps["terminated"].numpy(),
            done,
            discount=self.config.discount,
            trace=self.config.trace,
        )
        return Rollout(
            x=steps["x"],
            reset=steps["first"],
            action=steps["action"],
            log_likelihood=steps["likelihood"],
            advantage=torch.from_numpy(gain).float(),
            target=torch.from_numpy(gain + value).float(),
            valid=steps["valid"],
        )

    def _update(self, rollout: Rollout) -> dict[str, float | None]:
        config = self.config
        done = self.steps / config.steps
        rate = config.learning_rate * max(0.0, 1 - done)
        sums = np.zeros(4)
        count = 0
        for _ in range(config.epochs):
            for rows in torch.randperm(config.environments).chunk(config.minibatches):
                loss, parts = self._loss(rollout, rows)
                self.optimizer.clear()
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(self.agent.parameters(), config.norm)
                check_step(
                    loss.item(), norm.item(), model=self.agent, step=self.iteration, epoch=done, rate=rate
                )
                self.optimizer.step(rate)
                sums += np.array([loss.item(), *parts])
                count += 1
        names = ("loss", "value_loss", "entropy", "clipped")
        means = dict(zip(names, (sums / count).tolist(), strict=True))
        return {"learning_rate": rate, **means}

    def _loss(self, rollout: Rollout, rows: Tensor) -> tuple[Tensor, tuple[float, float, float]]:
        config = self.config
        memory = _rows(self._first_memory, rows)
        output, _ = self.agent(rollout.x[rows], memory, rollout.reset[rows])
        logs, entropy = log_likelihood(self.agent, output[..., :-1], rollout.action[rows])
        valid = rollout.valid[rows]
        gain = rollout.advantage[rows]
        chosen = gain[valid]
        gain = (gain - chosen.mean()) / (chosen.std(correction=0) + 1e-8)
        ratio = (logs - rollout.log_likelihood[rows]).exp()
        bounded = ratio.clamp(1 - config.clip, 1 + config.clip)
        policy = -torch.minimum(ratio * gain, bounded * gain)[valid].mean()
        value = (output[..., -1] - rollout.target[rows])[valid].square().mean()
        spread = entropy[valid].mean()
        loss = policy + config.value * value - config.entropy * spread
        clipped = ((ratio - 1).abs() > config.clip)[valid].float().mean()
        return loss, (value.item(), spread.item(), clipped.item())

    def _input(self, observation: np.ndarray, first: Tensor) -> tuple[Tensor, Any]:
        """The agent's input of this moment, and its memory with the rows of new episodes cleared."""
        self._before[first.numpy()] = 0
        memory = self._memory
        if bool(first.any()):
            memory = replace_rows(memory, self.agent.initial_state(len(first)), first)
        return self._joined(observation), memory

    def _joined(self, observation: np.ndarray) -> Tensor:
        return torch.from_numpy(np.concatenate([self.interface.flat(observation), self._before], -1))

    def _scaled(self, reward: np.ndarray, done: np.ndarray) -> np.ndarray:
        """Rewards in units of the deviation of discounted returns, of all steps so far."""
        if self.config.reward_scale is not None:
            return reward * self.config.reward_scale
        self._returns = self._returns * self.config.discount + reward
        count, mean, square = self._moments
        for value in self._returns:
            count += 1
            change = value - mean
            mean += change / count
            square += change * (value - mean)
        self._moments = np.array([count, mean, square])
        self._returns = np.where(done, 0.0, self._returns)
        return reward / np.sqrt(square / count + 1e-8) if count > 1 else reward


def agent_config(config: PPOConfig, interface: Interface) -> AgentConfig:
    """The network of a run in an environment of this interface."""
    return AgentConfig(
        d_model=interface.size + interface.action_width,
        outputs=interface.action_width,
        discrete=interface.discrete,
        image=interface.observation if interface.is_image else (),
        standardise=interface.scaled,
        width=config.width,
        memory=config.memory,
        depth=config.depth,
        settings=config.settings,
        last_action=config.last_action,
    )


def _rows(state: Any, rows: Tensor) -> Any:
    if isinstance(state, Tensor):
        return state[rows]
    parts = [_rows(part, rows) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
