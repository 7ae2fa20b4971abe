"""Learning to act in imagination: rollouts of the world model, lambda-returns, actor and critic.

    G_t = r_t + c_t ((1 - lambda) V_{t+1} + lambda G_{t+1}),     c_t = gamma (1 - P(end after t))
    actor    E[-w_t log pi(a_t) sg(G_t - V_t) / max(1, S) - eta H(pi)]
    critic   CE(G_t) + CE(V'_t),     V' a slow average of V

w_t is the probability that the imagined episode has got that far, S the spread between the 5th and the 95th
percentile of returns, averaged over time. Hafner et al., "Mastering Diverse Domains through World Models",
2023.

Differs from Drama's paper: an end is expected with its probability, not decided by a threshold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.rl.drama.latent import draw
from statewise.rl.drama.network import DramaNetwork
from statewise.rl.models.policy import replace_rows
from statewise.rl.returns import lambda_returns

__all__ = ["Dream", "behaviour_loss", "dream", "prefill"]


class Dream(NamedTuple):
    """H imagined steps from B starts; nothing in it has gradients."""

    features: Tensor
    """(B, H + 1, F): what the policy read, and would have read next."""
    action: Tensor
    """(B, H) classes."""
    reward: Tensor
    """(B, H)."""
    proceed: Tensor
    """(B, H) discount times the probability that the episode goes on."""


@torch.no_grad()
def prefill(
    network: DramaNetwork, observation: Tensor, action: Tensor, first: Tensor
) -> tuple[Tensor, Tensor, Any]:
    """Where imagination starts from: the last of C real steps.

    Args:
        network: in which the steps are read.
        observation: (B, C, pixels).
        action: (B, C, A) one-hot; the last one is not used.
        first: (B, C) bool.

    Returns:
        z (B, V C) of the last observation, d (B, D) of everything before it in its episode, the state there.
    """
    world = network.world
    z = draw(world.encode(observation)).flatten(-2)
    state, d = network.begin(len(z))
    if z.shape[1] > 1:
        tokens = world.join(torch.cat([z[:, :-1], action[:, :-1]], -1))
        found, state = world.backbone(tokens, state, first[:, :-1])
        d = found[:, -1]
    fresh_state, fresh = network.begin(len(z))
    last = first[:, -1]
    return z[:, -1], torch.where(last[:, None], fresh, d), replace_rows(state, fresh_state, last)


@torch.no_grad()
def dream(network: DramaNetwork, z: Tensor, d: Tensor, state: Any, *, horizon: int, discount: float) -> Dream:
    """Imagine H steps with the present policy, from `prefill`."""
    world, actions = network.world, network.config.world.actions
    features, chosen, foreseen = [network.features(z, d)], [], []
    for _ in range(horizon):
        logits = network.logits(features[-1])
        action = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        d, state = network.advance(z, F.one_hot(action, actions).to(z.dtype), state)
        z = draw(world.foresee(d)).flatten(-2)
        chosen.append(action)
        foreseen.append(d)
        features.append(network.features(z, d))
    ahead = torch.stack(foreseen, 1)
    proceed = discount * (1 - torch.sigmoid(world.end(ahead)[..., 0]))
    reward = world.twohot.decode(world.reward(ahead))
    return Dream(torch.stack(features, 1), torch.stack(chosen, 1), reward, proceed)


def behaviour_loss(
    network: DramaNetwork, imagined: Dream, spread: Tensor, *, trace: float, entropy: float, discount: float
) -> tuple[Tensor, dict[str, float], Tensor]:
    """The loss of actor and critic.

    Args:
        network: their networks.
        imagined: a dream of the present policy.
        spread: S so far, a scalar; below 0 when there is none yet.
        trace: lambda.
        entropy: eta.
        discount: gamma, by which the weight of later steps does not fall.

    Returns:
        The loss, what is worth logging, and the new S.
    """
    twohot = network.world.twohot
    features = imagined.features
    scores = network.critic(features[:, :-1])
    with torch.no_grad():
        value = twohot.decode(network.critic(features))
        slow = twohot.decode(network.slow_critic(features[:, :-1]))
        target = lambda_returns(imagined.reward, value, imagined.proceed, trace=trace)
        low, high = torch.quantile(target, torch.tensor([0.05, 0.95]))
        spread = high - low if spread < 0 else 0.99 * spread + 0.01 * (high - low)
        gain = (target - value[:, :-1]) / spread.clamp(min=1.0)
        alive = imagined.proceed / discount
        weight = torch.cat([torch.ones_like(alive[:, :1]), alive[:, :-1].cumprod(1)], 1)
    logs = network.logits(features[:, :-1]).log_softmax(-1)
    chosen = logs.gather(-1, imagined.action[..., None])[..., 0]
    uncertain = -(logs.exp() * logs).sum(-1)
    actor = -(weight * (gain * chosen + entropy * uncertain)).mean()
    critic = (weight * (twohot.loss(scores, target) + twohot.loss(scores, slow))).mean()
    facts = {
        "actor_loss": actor.item(),
        "critic_loss": critic.item(),
        "entropy": uncertain.mean().item(),
        "imagined_return": target.mean().item(),
        "imagined_reward": imagined.reward.mean().item(),
    }
    return actor + critic, facts, spread
