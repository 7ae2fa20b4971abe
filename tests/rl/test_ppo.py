from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from statewise.core.train.tensors import read_tensors
from statewise.rl.environments.make import EnvironmentSpec
from statewise.rl.evaluation import play
from statewise.rl.online import Plan, learn
from statewise.rl.ppo import PPO, PPOConfig

TINY = {
    "width": 16,
    "environments": 4,
    "rollout": 32,
    "minibatches": 2,
    "epochs": 2,
    "settings": {"d_state": 8},
}


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "catch"])
def test_a_restored_learner_goes_on_bit_for_bit(name: str):
    spec = EnvironmentSpec(id=name)
    config = PPOConfig(steps=10_000, **TINY)
    straight, broken = (PPO(config, spec, seed=3) for _ in range(2))
    for _ in range(3):
        straight.advance()
        broken.advance()
    tensors, note = broken.state()
    note = json.loads(json.dumps(note))
    tensors = {key: value.clone() for key, value in tensors.items()}
    resumed = PPO(config, spec, seed=3)
    resumed.restore(tensors, note)
    for _ in range(3):
        rows = straight.advance(), resumed.advance()
        assert rows[0] == rows[1]
    one, two = straight.state(), resumed.state()
    assert one[1] == two[1]
    assert one[0].keys() == two[0].keys()
    assert all(torch.equal(one[0][key], two[0][key]) for key in one[0])
    for learner in (straight, broken, resumed):
        learner.close()


RUN = """
import sys
from statewise.rl.cli import app
raise SystemExit(app.run(sys.argv[1:]))
"""


def command(folder: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def fit_words(out: str) -> list[str]:
    pairs = [f"{k}={json.dumps(v)}" for k, v in TINY.items()]
    words = [
        "fit",
        "repeat-previous",
        "--env-set",
        "lag=1",
        "--steps",
        "5120",
        "--episodes",
        "2",
        "--out",
        out,
    ]
    for pair in [*pairs, "evaluate_every=100000"]:
        words += ["--set", pair]
    return words


def test_killed_and_resumed_equals_straight_bit_for_bit(tmp_path: Path):
    straight = command(tmp_path, *fit_words("straight"))
    cut = command(tmp_path, *fit_words("cut"), "--save-every", "0")
    log = tmp_path / "cut" / "metrics.jsonl"
    until = time.monotonic() + 120
    while time.monotonic() < until and cut.poll() is None:
        if (
            log.exists()
            and len(log.read_bytes().splitlines()) >= 6
            and (log.parent / "checkpoint.safetensors").exists()
        ):
            break
        time.sleep(0.02)
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    assert straight.wait() == 0
    resumed = command(tmp_path, "fit", "--resume", "cut")
    assert resumed.wait() == 0
    (one, first), (two, second) = (
        read_tensors(tmp_path / name / "checkpoint.safetensors") for name in ("straight", "cut")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert first["learner"] == second["learner"]
    rows = [
        [
            {k: v for k, v in json.loads(line).items() if k != "seconds"}
            for line in path.read_text().splitlines()
        ]
        for path in (tmp_path / name / "metrics.jsonl" for name in ("straight", "cut"))
    ]
    assert rows[0] == rows[1]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, caplog):
    from statewise.core.train import Run

    def learner():
        return PPO(PPOConfig(steps=384, **TINY), EnvironmentSpec(id="tmaze", options={"length": 3}), seed=0)

    plan = Plan(evaluate_every=10**6, episodes=2, save_every=0.0)
    run = Run.create(tmp_path / "run", default="x")
    one = learn(learner(), run, plan)
    whole = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    (tmp_path / "run" / "checkpoint.safetensors").write_bytes(whole[: len(whole) // 2])
    two = learn(learner(), run, plan)
    assert "goes on from the checkpoint before it" in caplog.text
    assert [row["loss"] for row in one.rows] == [row["loss"] for row in two.rows]


def test_a_short_memory_task_is_learnt():
    spec = EnvironmentSpec(id="tmaze", options={"length": 4})
    learner = PPO(
        PPOConfig(steps=20_000, width=32, rollout=32, settings={"d_state": 16}, evaluate_every=2000),
        spec,
        seed=0,
    )
    result = learn(learner, None, Plan(evaluate_every=2000, episodes=20, until=0.99))
    assert result.stopped_by == "until"
    assert play(learner.actor(greedy=True), spec, episodes=20, seed=7).returns.min() == 1.0
    learner.close()


def test_interrupted_steps_of_next_step_mode_do_not_count():
    """The mask of valid steps reaches loss and tally."""
    from gymnasium.vector import AutoresetMode

    from statewise.rl.environments.make import make_vector
    from statewise.rl.environments.stream import Stream

    spec = EnvironmentSpec(id="odd_environments:Plain-v0")
    learner = PPO(PPOConfig(steps=1000, **TINY), spec, seed=0)
    learner.stream = Stream(make_vector(spec, 4, AutoresetMode.NEXT_STEP))
    row = learner.advance()
    assert row["train_return"] == 10.0
    assert np.isfinite(row["loss"])
    learner.close()
