from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from statewise.rl.cli import app
from statewise.rl.environments import ENVIRONMENTS
from statewise.rl.models import MODELS
from statewise.rl.saved import load_policy

TINY = ["--set", "environments=4", "--set", "rollout=16", "--set", "minibatches=2", "--set", "width=16",
        "--set", "evaluate_every=100000", "--episodes", "3"]  # fmt: skip


def run(capsys, *line: str) -> dict:
    code = app.run([*line, "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_an_environment_to_a_policy_that_other_runtimes_step(folder: Path, capsys):
    fitted = run(capsys, "fit", "tmaze", "--env-set", "length=3", "--steps", "512", *TINY)
    assert fitted["run"] == "runs/tmaze-s5-ppo"
    assert [one["policy"] for one in fitted["policies"]] == [
        "s5-ppo",
        "s5-ppo, drawn",
        "random",
        "expert (scripted)",
    ]
    files = {path.name for path in (folder / "runs/tmaze-s5-ppo").iterdir()}
    assert {
        "env.json",
        "evaluation.json",
        "metrics.jsonl",
        "report.html",
        "settings.json",
        "config.toml",
    } <= files
    assert json.loads((folder / "runs/tmaze-s5-ppo/env.json").read_text()) == {
        "id": "tmaze",
        "options": {"length": 3},
    }
    assert "IQM" in (folder / "runs/tmaze-s5-ppo/report.html").read_text()

    longer = run(capsys, "evaluate", "runs/tmaze-s5-ppo", "--env-set", "length=7", "--episodes", "4")
    assert longer["environment"] == {"id": "tmaze", "options": {"length": 7}}
    assert {one["policy"]: one["length"] for one in longer["policies"]}["random"] == 8.0

    exported = run(capsys, "export", "runs/tmaze-s5-ppo", "policy.onnx")
    assert exported["x"] == [1, 4]
    note = json.loads((folder / "policy.json").read_text())
    assert [part["size"] for part in note["x"]] == [2, 2]
    session = onnxruntime.InferenceSession(str(folder / "policy.onnx"))
    agent = load_policy("runs/tmaze-s5-ppo").network
    state, ours = agent.initial_state(1), []
    feeds = {port["input"]: np.zeros(port["shape"], port["dtype"]) for port in note["state"]}
    names = [one.name for one in session.get_outputs()]
    for t in range(5):
        x = np.random.default_rng(t).normal(size=(1, 4)).astype(np.float32)
        with torch.no_grad():
            y, state = agent.step(torch.from_numpy(x), state)
        found = dict(zip(names, session.run(None, {"x": x, **feeds}), strict=True))
        np.testing.assert_allclose(found["y"], y.numpy(), rtol=1e-4, atol=1e-5)
        feeds = {port["input"]: found[port["output"]] for port in note["state"]}
        ours.append(y)


def test_two_seeds_are_pooled(folder: Path, capsys):
    for seed in ("0", "1"):
        run(
            capsys,
            "fit",
            "tmaze",
            "--env-set",
            "length=2",
            "--steps",
            "64",
            *TINY,
            "--seed",
            seed,
            "--out",
            f"r{seed}",
        )
    found = run(capsys, "evaluate", "r0", "r1", "--episodes", "3")
    last = found["policies"][-1]
    assert last["policy"] == "all 2 runs"
    assert last["episodes"] == 6
    assert len(last["returns"]) == 2


def test_collect_describe_and_learn(folder: Path, capsys):
    collected = run(
        capsys, "collect", "CartPole-v1", "--policy", "expert", "--noise", "0.2", "--episodes", "6"
    )
    assert collected["path"] == "data/cartpole-v1-expert-v0"
    told = run(capsys, "data", collected["path"])
    assert told["environment"] == "CartPole-v1"
    assert told["episodes"] == told["final observations"] == 6
    small = {
        "bc": [],
        "dt-small": ["--set", "context=4", "--set", "best=0.5"],
        "ds4-small": ["--set", "depth=1"],
    }
    for model, settings in small.items():
        line = ["fit", collected["path"], "--model", model, "--steps", "3", "--episodes", "2", *settings]
        fitted = run(capsys, *line)
        assert [one["policy"] for one in fitted["policies"]][1:] == ["random", "expert (scripted)"]
    exported = run(capsys, "export", "runs/cartpole-v1-expert-v0-ds4-small")
    assert exported["x"] == [1, 4 + 2 + 2]
    copied = run(capsys, "export", collected["path"], "--format", "minari", "copy-v0")
    assert (copied["episodes"], copied["repeated"]) == (6, 0)
    assert run(capsys, "data", "copy-v0")["return, mean"] == told["return, mean"]
    assert app.run(["export", "runs/cartpole-v1-expert-v0-dt-small"]) == 2
    assert "constant size" in capsys.readouterr().err


def test_a_run_from_data_is_resumed_with_the_same_data_only(folder: Path, capsys):
    run(capsys, "collect", "tmaze", "--episodes", "4", "--out", "set-v0")
    line = ["fit", "set-v0", "--model", "bc", "--steps", "4", "--episodes", "2", "--out", "r"]
    first = run(capsys, *line)
    again = run(capsys, "fit", "--resume", "r")
    assert [one["returns"] for one in first["policies"]] == [one["returns"] for one in again["policies"]]
    (folder / "set-v0/data/main_data.hdf5").write_bytes(b"other")
    assert app.run(["fit", "--resume", "r"]) == 2
    assert "began with other data" in capsys.readouterr().err


def test_training_goes_on_from_the_weights_of_a_run(folder: Path, capsys):
    line = ["fit", "tmaze", "--env-set", "length=2", *TINY, "--steps"]
    run(capsys, *line, "64", "--out", "first")
    run(capsys, *line, "64", "--out", "second", "--init", "first", "--set", "learning_rate=1e-12")
    one, two = (load_policy(name).network.state_dict() for name in ("first", "second"))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-5, atol=1e-6)
    assert app.run([*line, "64", "--init", "first", "--model", "gru-ppo"]) == 2
    assert "do not fit" in capsys.readouterr().err


def test_an_episode_is_filmed(folder: Path, capsys):
    gif = run(capsys, "record", "expert", "--env", "catch", "--env-set", "balls=1", "--out", "x.gif")
    assert gif["frames"] == 16
    assert gif["return"] == 1.0
    with Image.open(folder / "x.gif") as picture:
        assert picture.size == (256, 256)
        assert picture.n_frames > 10
    run(capsys, "record", "random", "--env", "tmaze", "--env-set", "length=3", "--out", "x.mp4")
    assert (folder / "x.mp4").stat().st_size > 500


def test_lists(capsys):
    assert [one["name"] for one in run(capsys, "models")["models"]] == list(MODELS)
    assert [one["name"] for one in run(capsys, "envs")["environments"]] == list(ENVIRONMENTS)
    assert run(capsys, "envs", "CartPole-v1")["classes"] == 2
    named = run(capsys, "data")["datasets"]
    assert list(run(capsys, "data", "pendulum-medium")["datasets"]) == ["pendulum-medium"]
    assert {name.partition("-")[0] for name in named} == {"pendulum", "cartpole"}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_a_page(name: str):
    page = Path(__file__).resolve().parents[2] / "docs" / "models" / f"{PAGES.get(name, name)}.md"
    assert page.is_file(), f"write docs/models/{page.name}: equation, shapes, what differs from the paper"
    assert name in page.read_text(encoding="utf-8")


PAGES = {name: "ppo" for name in MODELS if name.endswith("-ppo")} | {"percent-bc": "bc", "ds4-online": "ds4"}
