from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from statewise.core.errors import UserError
from statewise.rl.environments.make import EnvironmentSpec
from statewise.rl.interface import Interface
from statewise.rl.models.agent import Agent, AgentConfig, Standardiser
from statewise.rl.models.memory import MemoryConfig, build_memory
from statewise.rl.models.policy import draw, log_likelihood
from statewise.rl.saved import load_policy, save_policy

MEMORIES = ["s5", "gru", "lstm", "mamba", "mamba2", "lru", "mlp"]
SMALL = {"mamba2": {"d_state": 8}, "s5": {"d_state": 8}}


def agent(memory: str, **settings) -> Agent:
    torch.manual_seed(1)
    config = AgentConfig(
        d_model=5, outputs=2, width=16, memory=memory, settings=SMALL.get(memory, {}), **settings
    )
    made = Agent(config)
    for parameter in made.actor.parameters():  # the first policy is even: let outputs differ
        nn.init.normal_(parameter, std=0.5)
    return made


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_stream_equals_the_parallel_view_after_saving_and_loading(memory: str, tmp_path):
    made = agent(memory)
    interface = Interface(observation=(3,), classes=2)
    save_policy(
        tmp_path / "m", made, model=f"{memory}-ppo", family="agent", spec=EnvironmentSpec(id="x"),
        interface=interface,
    )  # fmt: skip
    length = 2048 if memory == "s5" else 256
    x = torch.randn(1, length, 5)
    with torch.no_grad():
        whole, _ = made(x)
        loaded = load_policy(tmp_path / "m").network
        state, outputs = loaded.initial_state(1), []
        for t in range(length):
            y, state = loaded.step(x[:, t], state)
            outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, 1), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_reset_inside_a_rollout_is_exact_gradients_too(memory: str):
    made = agent(memory).double()
    x = torch.randn(2, 12, 5, dtype=torch.float64)
    reset = torch.zeros(2, 12, dtype=torch.bool)
    reset[0, 5] = reset[1, 0] = reset[1, 9] = True
    cuts = {0: (0, 5, 12), 1: (0, 9, 12)}
    weight = torch.randn(2, 12, 3, dtype=torch.float64)

    together, _ = made(x, None, reset)
    (together * weight).sum().backward()
    gradients = {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}
    made.zero_grad()
    apart = torch.stack(
        [
            torch.cat([made(x[row : row + 1, a:b])[0][0] for a, b in pairwise(ends)])
            for row, ends in cuts.items()
        ]
    )
    (apart * weight).sum().backward()
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-9)
    for name, parameter in made.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-7, atol=1e-9)


def test_images_and_vectors_share_the_agent():
    config = AgentConfig(d_model=16 * 16 + 3, outputs=3, image=(16, 16, 1), width=16, memory="gru")
    made = Agent(config)
    y, _ = made(torch.rand(2, 4, 16 * 16 + 3))
    assert y.shape == (2, 4, 4)


def test_a_memory_that_reads_both_ways_is_refused():
    with pytest.raises(UserError, match="reads its sequence both ways"):
        build_memory(MemoryConfig(d_model=8, kind="hydra"))


def test_the_standardiser_keeps_the_moments_of_all_it_was_given_and_evaluation_changes_nothing():
    values = torch.randn(3, 50, 4) * 3 + 7
    made = Standardiser(4)
    for part in values:
        made.update(part)
    flat = values.reshape(-1, 4)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    found = made(flat)
    torch.testing.assert_close(found.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())


def test_likelihoods_are_those_of_torch():
    discrete, continuous = agent("mlp"), agent("mlp", discrete=False)
    output = torch.randn(6, 2)
    chosen = torch.randint(2, (6,))
    logs, entropy = log_likelihood(discrete, output, chosen)
    oracle = torch.distributions.Categorical(logits=output)
    torch.testing.assert_close(logs, oracle.log_prob(chosen))
    torch.testing.assert_close(entropy, oracle.entropy())
    numbers = torch.randn(6, 2)
    logs, entropy = log_likelihood(continuous, output, numbers)
    normal = torch.distributions.Normal(output, continuous.deviation())
    torch.testing.assert_close(logs, normal.log_prob(numbers).sum(-1))
    torch.testing.assert_close(entropy, normal.entropy().sum(-1))


def test_drawn_actions_follow_the_distribution():
    output = torch.tensor([[0.0, 1.0]]).repeat(20000, 1)
    drawn = draw(agent("mlp"), output, torch.Generator().manual_seed(0))
    assert drawn.float().mean().item() == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=0.01)
    assert draw(agent("mlp"), output[:1], None).item() == 1


def test_actions_keep_within_the_bounds_of_the_environment():
    interface = Interface(observation=(1,), low=(-2.0, 0.0), high=(2.0, 1.0))
    action = interface.decode_numbers(np.array([[-3.0, 0.0], [0.5, 3.0]]))
    np.testing.assert_allclose(action, [[-2.0, 0.5], [1.0, 1.0]])
    np.testing.assert_allclose(interface.encode_action(action), [[-1.0, 0.0], [0.5, 1.0]])


def test_the_action_before_can_be_hidden_from_a_policy():
    x = torch.randn(3, 5)
    other = torch.cat([x[:, :3], torch.randn(3, 2)], 1)
    sees, blind = agent("mlp"), agent("mlp", last_action=False)
    (seen, _), (seen_other, _) = (sees.step(one, sees.initial_state(3)) for one in (x, other))
    (hidden, _), (hidden_other, _) = (blind.step(one, blind.initial_state(3)) for one in (x, other))
    assert not torch.allclose(seen, seen_other)
    torch.testing.assert_close(hidden, hidden_other, rtol=0, atol=0)
