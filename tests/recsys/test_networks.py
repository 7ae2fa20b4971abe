"""Every encoder learns what can be learnt, nothing else, and looks neither ahead nor at its neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from statewise.core.train import FitConfig, fit, seeded
from statewise.recsys.events import EventLog, Histories
from statewise.recsys.metrics import summarise
from statewise.recsys.network.encoders import ENCODERS, RECURRENT
from statewise.recsys.network.model import Network
from statewise.recsys.network.objectives import ObjectiveConfig, make_batch, pad, windows
from statewise.recsys.network.scorer import NetworkScorer
from statewise.recsys.network.task import SequenceTask
from statewise.recsys.ranking import rank_cases
from statewise.recsys.recipes import PRESETS, Recipe, recipe
from statewise.recsys.splits import make_split
from tests.recsys.synthetic import cycles, log_of, noise

TINY = {"network": {"encoder": {"d_model": 16, "length": 12, "dropout": 0.0}}, "fit": {"weight_decay": 0.0}}


def tiny(name: str) -> Recipe:
    return recipe(name, TINY)


def build(name: str, n_items: int, seed: int = 0) -> tuple[Network, Recipe]:
    made = tiny(name)
    with seeded(seed):
        return Network(made.network, n_items).eval(), made


def fitted(name: str, log: EventLog, steps: int, rate: float = 2e-2) -> tuple[NetworkScorer, SequenceTask]:
    network, made = build(name, log.n_items)
    task = SequenceTask(network.train(), make_split(log), made.objective, made.loss)
    config = FitConfig(
        epochs=None, steps=steps, batch_size=32, learning_rate=rate, eval_every=steps, threads=1
    )
    fit(task, config)
    return NetworkScorer(network, cloze=made.objective.name == "cloze"), task


@pytest.mark.parametrize("name", ENCODERS)
def test_a_planted_cycle_is_found(name: str):
    log = cycles(users=64, items=12, length=10)
    steps, rate = (300, 1e-2) if name == "bidir" else (60, 2e-2)
    scorer, _ = fitted(name, log, steps, rate)
    ranked = rank_cases(scorer, log, make_split(log).test)
    assert summarise(ranked, np.ones(12)).hr["1"] > 0.99


@pytest.mark.parametrize("name", ["causal", "lru"])
def test_shuffled_data_stay_at_chance(name: str):
    log = noise(users=400, items=50, length=12)
    scorer, _ = fitted(name, log, 60, rate=5e-3)
    found = summarise(rank_cases(scorer, log, make_split(log).test), np.ones(50)).hr["10"]
    chance = 10 / (50 - 11)
    assert abs(found - chance) < 4 * (chance * (1 - chance) / 400) ** 0.5


def test_test_targets_change_no_weight():
    rows = [row.tolist() for row in (noise(users=40).histories().row(u) for u in range(40))]
    other = [[*row[:-1], (row[-1] + 1) % 50] for row in rows]
    weights = []
    for data in (rows, other):
        scorer, _ = fitted("causal", log_of(data, items=50), 10)
        weights.append(scorer.network.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "bidir"])
def test_the_future_changes_no_state_of_the_past(name: str):
    network, _ = build(name, 30)
    items = torch.randint(30, (3, 9), generator=torch.Generator().manual_seed(1))
    changed = items.clone()
    changed[:, 6:] = (changed[:, 6:] + 7) % 30
    lengths = torch.full((3,), 9)
    with torch.inference_mode():
        table = network.table()
        one, other = (network.encoder(network.embed(x, table), lengths) for x in (items, changed))
    assert torch.allclose(one[:, :6], other[:, :6], atol=1e-6)
    assert not torch.allclose(one[:, 6:], other[:, 6:], atol=1e-3)


@pytest.mark.parametrize("name", ENCODERS)
def test_padding_and_company_change_no_score(name: str):
    network, made = build(name, 30)
    scorer = NetworkScorer(network, cloze=made.objective.name == "cloze")
    rng = np.random.default_rng(0)
    rows = [rng.integers(30, size=size).tolist() for size in (1, 3, 8, 12, 20)]
    together = scorer.scores(Histories.of(rows))
    for i, row in enumerate(rows):
        assert np.allclose(scorer.scores(Histories.of([row]))[0], together[i], atol=2e-6)


@pytest.mark.parametrize("name", [*RECURRENT, "hybrid"])
def test_a_stream_says_what_the_whole_sequence_says(name: str):
    network, _ = build(name, 30)
    items = torch.randint(30, (2, 9), generator=torch.Generator().manual_seed(2))
    encoder = network.recurrent()
    with torch.inference_mode():
        table = network.table()
        whole = encoder(network.embed(items, table), torch.full((2,), 9))
        state, steps = encoder.stack.initial_state(2), []
        for t in range(9):
            y, state = encoder.step(network.embed(items[:, t], table), state)
            steps.append(y)
    assert torch.allclose(torch.stack(steps, 1), whole, atol=1e-5)


def test_an_empty_history_gets_the_bias():
    network, _ = build("causal", 8)
    with torch.no_grad():
        network.bias.copy_(torch.arange(8.0))
    scores = NetworkScorer(network).scores(Histories.of([[], [3]]))
    assert scores[0].tolist() == list(range(8))


def test_next_targets_are_the_inputs_moved_on():
    rows = Histories.of([[5, 6, 7, 8], [1, 2]])
    batch = make_batch(rows, ObjectiveConfig(), 10, groups=1)
    assert batch.items[0][1].tolist() == [5, 6, 7]
    assert batch.items[0][0, 0] == 1
    assert batch.lengths[0].tolist() == [1, 3]
    assert batch.targets.tolist() == [2, 6, 7, 8]
    assert batch.asked[0].tolist() == [0, 3, 4, 5]


def test_cloze_hides_at_least_one_place_and_only_real_ones():
    torch.manual_seed(0)
    rows = Histories.of([[5, 6, 7, 8, 9, 4], [1, 2], [3]] * 30)
    config = ObjectiveConfig(name="cloze", rho=0.3, last_only=0.0)
    batch = make_batch(rows, config, 10, groups=2)
    found = 0
    for items, lengths, asked in zip(batch.items, batch.lengths, batch.asked, strict=True):
        flat = items.flatten()
        assert torch.equal(torch.nonzero(flat == 10).flatten(), asked)
        row, place = asked // items.shape[1], asked % items.shape[1]
        assert bool((place < lengths[row]).all())
        assert len(row.unique()) == len(items)
        found += len(asked)
    assert found == len(batch.targets)
    last = make_batch(rows, replace(config, last_only=1.0), 10, groups=1)
    assert last.asked[0].tolist() == [
        i * last.items[0].shape[1] + n - 1 for i, n in enumerate(last.lengths[0].tolist())
    ]


def test_windows_cover_every_target_once():
    log = log_of([list(range(23)), [1], [4, 5]], items=23)
    cut = windows(log.histories(), ObjectiveConfig(windows="all"), 5)
    targets = sorted(int(v) for i in range(len(cut)) for v in cut.row(i)[1:])
    assert targets == sorted([*range(1, 23), 5])
    assert max(cut.stops - cut.starts) == 6
    last = windows(log.histories(), ObjectiveConfig(), 5)
    assert [row.tolist() for row in map(last.row, range(len(last)))] == [[17, 18, 19, 20, 21, 22], [4, 5]]


def test_padding_is_on_the_right():
    items, lengths = pad(Histories.of([[7], [1, 2, 3]]), behind=1)
    assert items.tolist() == [[7, 0, 0, 0], [1, 2, 3, 0]]
    assert lengths.tolist() == [2, 4]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_takes_a_step(name: str):
    log = cycles(users=8, items=6, length=6)
    made = recipe(name, {"network": {"encoder": {"d_model": 8, "length": 6}}})
    network = Network(made.network, 6)
    task = SequenceTask(network, make_split(log), made.objective, made.loss)
    loss = task.loss(network, task.batch(torch.arange(8)))
    loss.backward()
    assert torch.isfinite(loss)
    missing = [n for n, p in network.named_parameters() if p.grad is None]
    assert not [n for n in missing if not n.startswith("masked")]


def test_a_large_catalogue_takes_a_sampled_loss():
    assert recipe("causal", n_items=60_000).loss.name == "sampled"
    assert recipe("causal", n_items=60_000, changes={"loss": {"name": "ce"}}).loss.name == "ce"
    assert recipe("gsasrec", n_items=60_000).loss.name == "gbce"
