from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from statewise.core.errors import UserError
from statewise.rl.cli import app
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.finetune.learner import DS4Online, DS4OnlineConfig
from statewise.rl.finetune.stored import Moment, StoredSteps
from statewise.rl.interface import Interface
from statewise.rl.models.ds4 import DS4, DS4Config
from statewise.rl.saved import Policy
from statewise.rl.states import flat_state

SPEC = EnvironmentSpec(id="Pendulum-v1")
QUICK = DS4OnlineConfig(
    steps=200, environments=2, warmup=16, critic_only=2, act_steps=4, updates=2, batch=8, capacity=40,
    critic_width=8, actor_rate=1e-2, noise=0.0, noise_end=0.0,
)  # fmt: skip


def start(spec: EnvironmentSpec = SPEC) -> Policy:
    env = make(spec)
    face = Interface.of(env)
    env.close()
    torch.manual_seed(0)
    config = DS4Config(
        observation=face.size, outputs=face.action_width, discrete=face.discrete, scale=1000.0, embedding=8,
        width=8, depth=2, settings={"d_state": 4},
    )  # fmt: skip
    facts = {"target": -150.0, "delayed": False}
    return Policy(
        path=Path("r"), model="ds4", family="sequence", spec=spec, interface=face, network=DS4(config),
        facts=facts,
    )  # fmt: skip


def test_what_follows_a_step_is_the_next_of_its_episode():
    stored = StoredSteps(2, 5, 1, 1, [torch.zeros(2, 3)])
    for t in range(8):  # the first ring: cut off at 4; the second: terminated at 5
        mark = torch.tensor([float(t), 100.0 + t])
        now = Moment(mark[:, None], mark[:, None], mark, [mark[:, None].expand(2, 3)])
        ends = torch.tensor([False, t == 5]), torch.tensor([t == 4, False])
        stored.add(now, mark[:, None], mark, *ends)
    drawn = stored.draw(400, np.random.default_rng(0))
    assert set(drawn.reward.tolist()) == {3.0, 5.0, 6.0, 103.0, 104.0, 105.0, 106.0}
    torch.testing.assert_close(drawn.then.to_go, drawn.reward + 1)
    torch.testing.assert_close(drawn.then.state[0], drawn.now.state[0] + 1)
    assert torch.equal(drawn.terminated, drawn.reward == 105)


def test_a_stored_state_gives_the_action_that_was_taken_and_acting_is_that_of_the_saved_policy():
    learner = DS4Online(QUICK, SPEC, 0, start())
    learner.stream.reset(0)
    learner._started = True
    for _ in range(6):
        learner._act()
    steps = learner.stored.draw(30, np.random.default_rng(0))
    with torch.no_grad():
        said, after = learner._decide(learner.net, steps.now)
    torch.testing.assert_close(said.clamp(-1, 1), steps.action)
    for found, kept in zip(flat_state(after), steps.then.state, strict=True):
        torch.testing.assert_close(found, kept)
    actor = learner.actor(greedy=True)
    actor.begin(2, 0)
    observation = torch.zeros(2, 3).numpy()
    one = actor.act(observation, np.zeros(2), np.ones(2, bool))
    policy = start()
    other = policy.actor()
    other.begin(2, 0)
    np.testing.assert_array_equal(one, other.act(observation, np.zeros(2), np.ones(2, bool)))
    learner.close()


def test_the_policy_follows_its_critic_and_the_critic_moves_first():
    learner = DS4Online(QUICK, SPEC, 0, start())
    before = {name: value.clone() for name, value in learner.net.state_dict().items()}
    assert "actor_loss" not in learner.advance()
    assert all(torch.equal(before[name], value) for name, value in learner.net.state_dict().items())
    learner.critic.forward = lambda o, a, r: -(a[:, 0] - 0.5).square()  # what is best is known
    learner._move = _only(learner, learner.net)
    for _ in range(80):
        learner._learn(np.random.default_rng(1))
    said = learner._decide(learner.net, learner.stored.draw(50, np.random.default_rng(2)).now)[0]
    assert (said - 0.5).abs().mean() < 0.15
    learner.close()


def _only(learner: DS4Online, model: torch.nn.Module):
    move = learner._move
    return lambda loss, one, *rest: move(loss, one, *rest) if one is model else None


def test_a_restored_learner_goes_on_bit_for_bit():
    straight, broken = (DS4Online(QUICK, SPEC, 1, start()) for _ in range(2))
    for _ in range(12):
        straight.advance()
        broken.advance()
    tensors, note = broken.state()
    tensors = {key: value.clone() for key, value in tensors.items()}
    resumed = DS4Online(QUICK, SPEC, 1, start())
    resumed.restore(tensors, json.loads(json.dumps(note)))
    for _ in range(4):
        assert straight.advance() == resumed.advance()
    one, two = straight.state(), resumed.state()
    assert one[1] == two[1]
    assert all(torch.equal(one[0][key], two[0][key]) for key in one[0])
    for learner in (straight, broken, resumed):
        learner.close()


def test_from_the_command_line(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = ["fit", "Pendulum-v1", "--model", "ds4-online", "--steps", "40", "--episodes", "2",
            "--set", "warmup=16", "--set", "evaluate_every=1000", "--json"]  # fmt: skip
    assert app.run(line) == 2
    assert "--init" in capsys.readouterr().err
    assert app.run(["collect", "Pendulum-v1", "--episodes", "2", "--out", "s-v0", "--json"]) == 0
    learn = ["fit", "s-v0", "--model", "ds4-small", "--steps", "1", "--episodes", "2", "--out", "r", "--json"]
    assert app.run(learn) == 0
    capsys.readouterr()
    assert app.run([*line, "--init", "r"]) == 0
    assert json.loads(capsys.readouterr().out)["policies"][0]["policy"] == "ds4-online"


def test_classes_are_refused():
    spec = EnvironmentSpec(id="CartPole-v1")
    with pytest.raises(UserError, match="actions are numbers"):
        DS4Online(QUICK, spec, 0, start(spec))
