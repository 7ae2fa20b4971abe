from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from statewise.core.errors import ConfigError
from statewise.rl.drama.imagine import behaviour_loss, dream, prefill
from statewise.rl.drama.laprop import LaProp
from statewise.rl.drama.latent import divergence, mixed, sample
from statewise.rl.drama.learner import Drama, DramaTraining
from statewise.rl.drama.network import DramaConfig, DramaNetwork
from statewise.rl.drama.policy import DramaActor
from statewise.rl.drama.twohot import TwoHot, symexp, symlog
from statewise.rl.drama.world import WorldConfig, WorldModel
from statewise.rl.environments.make import EnvironmentSpec
from statewise.rl.interface import Interface

SMALL = {"width": 16, "variables": 4, "classes": 4, "channels": 4, "hidden": 8}
TINY = {
    "world": SMALL, "steps": 400, "warmup": 80, "environments": 2, "train_every": 8, "batch": 2, "length": 8,
    "starts": 4, "context": 4, "horizon": 3, "capacity": 400, "actor": (8,), "critic": (8,),
}  # fmt: skip


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_of_the_paper():
    preset = Drama.presets["paper"]
    world = WorldConfig(observation=(64, 64, 3), actions=18, **preset["world"])
    network = DramaNetwork(DramaConfig(world=world, actor=preset["actor"], critic=preset["critic"]))
    assert count(network.world) == 7_161_603
    assert count(network.actor) == 530_450
    assert count(network.critic) == 1_444_607
    fewer = WorldConfig(observation=(64, 64, 3), actions=17, **preset["world"])
    assert count(WorldModel(fewer)) == 7_161_603 - 512


@given(st.floats(-1e8, 1e8))
def test_a_number_is_the_mean_of_its_two_bins(x: float):
    twohot = TwoHot()
    weights = twohot.encode(torch.tensor([x]))
    assert weights.sum().item() == pytest.approx(1)
    assert (weights > 0).sum() <= 2
    logits = torch.log(weights.clamp(min=1e-30))
    assert twohot.decode(logits).item() == pytest.approx(x, rel=1e-3, abs=1e-5)


def test_two_hot_by_hand_at_edges_and_beyond():
    twohot = TwoHot(bins=5, limit=2.0)  # bins at symlog -2, -1, 0, 1, 2
    x = symexp(torch.tensor([-2.0, -1.0, 0.25, 2.0, 7.0, -7.0]))
    expected = torch.tensor(
        [
            [1, 0, 0, 0, 0],
            [0, 1, 0, 0, 0],
            [0, 0, 0.75, 0.25, 0],
            [0, 0, 0, 0, 1],
            [0, 0, 0, 0, 1],
            [1, 0, 0, 0, 0],
        ]
    )
    torch.testing.assert_close(twohot.encode(x), expected.float())
    torch.testing.assert_close(symexp(symlog(x)), x)


def test_latents_are_one_hot_and_gradients_pass_straight_through():
    logits = torch.randn(5, 3, 4, requires_grad=True)
    logs = mixed(logits)
    assert logs.exp().min() >= 0.01 / 4
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(5, 3))
    z = sample(logs)
    assert set(z.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    weight = torch.randn(5, 3, 4)
    (z * weight).sum().backward()
    through = logits.grad.clone()
    logits.grad = None
    (mixed(logits).exp() * weight).sum().backward()
    torch.testing.assert_close(through, logits.grad)


def test_divergence_is_that_of_torch():
    p, q = mixed(torch.randn(6, 3, 4)), mixed(torch.randn(6, 3, 4))
    one, two = (torch.distributions.Categorical(logits=x) for x in (p, q))
    torch.testing.assert_close(divergence(p, q), torch.distributions.kl_divergence(one, two).sum(-1))


def test_laprop_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    optimizer = LaProp(model, rate=0.1, betas=(0.5, 0.75))
    weight, mean, square = 1.0, 0.0, 0.0
    for step, gradient in enumerate((2.0, -1.0, 0.5), start=1):
        model.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        square = 0.75 * square + 0.25 * gradient**2
        mean = 0.5 * mean + 0.5 * gradient / (square / (1 - 0.75**step)) ** 0.5
        weight -= 0.1 * mean / (1 - 0.5**step)
        assert model.weight.item() == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize("mixer", ["mamba2", "mamba", "gru", "s5"])
def test_a_reset_inside_a_window_is_exact_gradients_too(mixer: str):
    torch.manual_seed(0)
    settings = {"d_state": 8} if mixer != "gru" else {}
    world = WorldModel(
        WorldConfig(observation=(3,), actions=2, mixer=mixer, settings=settings, **SMALL)
    ).double()
    x = torch.randn(1, 10, 16, dtype=torch.float64)
    first = torch.zeros(1, 10, dtype=torch.bool)
    first[0, 4] = True
    weight = torch.randn(1, 10, 16, dtype=torch.float64)
    together, _ = world.backbone(x, None, first)
    (together * weight).sum().backward()
    found = {name: p.grad.clone() for name, p in world.backbone.named_parameters() if p.grad is not None}
    world.zero_grad()
    apart = torch.cat([world.backbone(part)[0] for part in (x[:, :4], x[:, 4:])], 1)
    (apart * weight).sum().backward()
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-9)
    for name, parameter in world.backbone.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-6, atol=1e-8)


def network(**more) -> DramaNetwork:
    torch.manual_seed(0)
    world = WorldConfig(observation=(16, 16, 1), actions=3, settings={"d_state": 8}, **SMALL, **more)
    made = DramaNetwork(DramaConfig(world=world, actor=(8,), critic=(8,)))
    torch.nn.init.normal_(made.actor[-1].weight, std=2.0)
    return made.eval()


def test_it_acts_on_the_frame_it_sees():
    """Another present frame, everything before the same: another latent, and in time another action."""
    made = network()
    face = Interface(observation=(16, 16, 1), classes=3)
    actors = [DramaActor(made, face, greedy=True) for _ in range(2)]
    frames = np.random.default_rng(0).integers(0, 256, (40, 1, 16, 16, 1)).astype(np.uint8)
    chosen = [[], []]
    for t in range(20):
        for which, actor in enumerate(actors):
            actor.begin(1, 0)
            for before in frames[:2]:
                actor.act(before, np.zeros(1), np.zeros(1, bool))
            chosen[which].append(
                int(actor.act(frames[2 + t if which else 3], np.zeros(1), np.zeros(1, bool))[0])
            )
    assert len(set(chosen[0])) == 1
    assert len(set(chosen[1])) > 1


def test_acting_forgets_at_the_first_step_of_an_episode():
    made = network()
    face = Interface(observation=(16, 16, 1), classes=3)
    frames = np.random.default_rng(0).integers(0, 256, (6, 2, 16, 16, 1)).astype(np.uint8)
    long, fresh = DramaActor(made, face, greedy=True), DramaActor(made, face, greedy=True)
    long.begin(2, 0)
    for frame in frames[:4]:
        long.act(frame, np.zeros(2), np.zeros(2, bool))
    fresh.begin(2, 0)
    for t, frame in enumerate(frames[4:]):
        first = np.array([t == 0, False])
        long.act(frame, np.zeros(2), first)
        fresh.act(frame, np.zeros(2), first)
    torch.testing.assert_close(long.d[0], fresh.d[0])
    assert not torch.allclose(long.d[1], fresh.d[1])


def test_imagination_starts_where_acting_stands():
    """The state after C real steps is the same by the parallel prefill and step by step."""
    made = network()
    torch.manual_seed(1)
    pixels, hot = torch.rand(2, 6, 256), torch.nn.functional.one_hot(torch.randint(3, (2, 6)), 3).float()
    first = torch.zeros(2, 6, dtype=torch.bool)
    first[1, 3] = True
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(2)
        z, d, state = prefill(made, pixels, hot, first)
        torch.manual_seed(2)
        latents = sample(made.world.encode(pixels)).flatten(-2)
        for row, begin in ((0, 0), (1, 3)):
            own, last = made.begin(1)
            for t in range(begin, 5):
                last, own = made.advance(latents[row : row + 1, t], hot[row : row + 1, t], own)
            torch.testing.assert_close(d[row], last[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(z[row], latents[row, -1])
            torch.testing.assert_close(state[0].s[row], own[0].s[0], rtol=1e-4, atol=1e-5)


def test_a_dream_trains_actor_and_critic_and_leaves_the_world_alone():
    made = network()
    z, d, state = prefill(
        made, torch.rand(4, 3, 256), torch.zeros(4, 3, 3), torch.zeros(4, 3, dtype=torch.bool)
    )
    before = {name: value.clone() for name, value in made.world.state_dict().items()}
    imagined = dream(made, z, d, state, horizon=5, discount=0.9)
    assert imagined.features.shape == (4, 6, 16 + 16)
    assert not imagined.features.requires_grad
    assert (imagined.proceed <= 0.9).all()
    loss, facts, spread = behaviour_loss(
        made, imagined, torch.tensor(-1.0), trace=0.95, entropy=1e-3, discount=0.9
    )
    loss.backward()
    trained = {name.partition(".")[0] for name, p in made.named_parameters() if p.grad is not None}
    assert trained == {"actor", "critic"}
    assert all(torch.equal(before[name], value) for name, value in made.world.state_dict().items())
    assert spread >= 0
    assert np.isfinite(list(facts.values())).all()


def test_what_standardises_is_frozen_when_the_agent_is_judged():
    made = network()
    face = Interface(observation=(16, 16, 1), classes=3)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    actor = DramaActor(made, face, greedy=False)
    actor.begin(3, 0)
    for _ in range(5):
        actor.act(np.zeros((3, 16, 16, 1), np.uint8), np.zeros(3), np.zeros(3, bool))
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())


def test_actor_and_critic_read_the_decoded_picture_where_asked():
    spec, config = EnvironmentSpec(id="catch", options={"balls": 1}), DramaTraining(**TINY, reads="picture")
    learner = Drama(config, spec, seed=0)
    net = learner.net
    z = torch.nn.functional.one_hot(torch.arange(4).repeat(3, 1), 4).float().flatten(-2)
    d = torch.randn(3, net.config.world.width)
    features = net.features(z, d)
    assert torch.equal(features, torch.cat([net.world.decode(z), d], -1))
    assert net.logits(features).shape == (3, 3)
    for _ in range(2):
        learner.advance()
    assert learner.updates == 1
    learner.close()
    with pytest.raises(ConfigError, match="latent or picture"):
        Drama(DramaTraining(**TINY, reads="frame"), spec, seed=0)


@pytest.mark.parametrize("reads", ["latent", "picture"])
def test_a_restored_learner_goes_on_bit_for_bit_the_replay_too(reads: str):
    spec, config = EnvironmentSpec(id="catch", options={"balls": 1}), DramaTraining(**TINY, reads=reads)
    straight, broken = (Drama(config, spec, seed=1) for _ in range(2))
    for _ in range(4):
        straight.advance()
        broken.advance()
    tensors, note = broken.state()
    tensors = {key: value.clone() for key, value in tensors.items()}
    resumed = Drama(config, spec, seed=1)
    resumed.restore(tensors, json.loads(json.dumps(note)))
    for _ in range(3):
        assert straight.advance() == resumed.advance()
    one, two = straight.state(), resumed.state()
    assert one[1] == two[1]
    assert one[0].keys() == two[0].keys()
    assert all(torch.equal(one[0][key], two[0][key]) for key in one[0])
    for learner in (straight, broken, resumed):
        learner.close()


def test_a_world_model_learns_what_an_action_does():
    """Two cells and a light: action 1 moves it. After a few updates the next picture is foreseen."""
    torch.manual_seed(0)
    world = WorldModel(
        WorldConfig(observation=(2,), actions=2, width=16, variables=2, classes=4, hidden=8, depth=1,
                    settings={"d_state": 4}, free_bits=0.1)
    )  # fmt: skip
    optimizer = LaProp(world, rate=3e-3)
    generator = np.random.default_rng(0)
    place = np.zeros((8, 16), int)
    action = generator.integers(2, size=(8, 16))
    for t in range(1, 16):
        place[:, t] = (place[:, t - 1] + action[:, t - 1]) % 2
    seen = torch.nn.functional.one_hot(torch.from_numpy(place), 2).float()
    hot = torch.nn.functional.one_hot(torch.from_numpy(action), 2).float()
    reward, end = seen[..., 1], torch.zeros(8, 16, dtype=torch.bool)
    first = torch.zeros(8, 16, dtype=torch.bool)
    first[:, 0] = True
    losses = []
    for _ in range(250):
        loss = world.loss(4 * seen, hot, reward, end, first)
        optimizer.clear()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.picture.item())
    with torch.no_grad():
        z = sample(world.encode(4 * seen)).flatten(-2)
        d, _ = world.backbone(world.join(torch.cat([z, hot], -1)))
        foreseen = world.decode(
            torch.nn.functional.one_hot(world.foresee(d).argmax(-1), 4).float().flatten(-2)
        )
    right = (foreseen[:, :-1].argmax(-1) == torch.from_numpy(place[:, 1:])).float().mean().item()
    assert losses[-1] < 0.2 * losses[0]
    assert right > 0.9


def test_free_bits_of_the_encoder_do_not_keep_the_prior_from_learning():
    """With much to spare for the latents, what is foreseen is trained all the same, and only that."""
    torch.manual_seed(0)
    gradients = {}
    for name, bits in {"both": 1e3, "encoder": 0.0}.items():
        free = {"free_bits": bits, "representation_free_bits": 1e3}
        world = WorldModel(WorldConfig(observation=(8, 8, 1), actions=2, **SMALL, **free))
        action, never = torch.eye(2)[torch.tensor([[0, 1, 0, 1, 1]] * 2)], torch.zeros(2, 5, dtype=torch.bool)
        world.loss(torch.rand(2, 5, 64), action, torch.zeros(2, 5), never, never).total.backward()
        gradients[name] = world.prior.weight.grad
    assert gradients["both"] is None or not gradients["both"].any()
    assert gradients["encoder"].abs().sum() > 0


def test_small_pictures_have_an_mlp_and_large_ones_convolutions():
    small = WorldModel(WorldConfig(observation=(16, 16, 1), actions=3, **SMALL))
    large = WorldModel(WorldConfig(observation=(64, 64, 3), actions=3, **SMALL))
    kinds = [{type(part) for part in world.encoder.modules()} for world in (small, large)]
    assert torch.nn.Conv2d not in kinds[0]
    assert torch.nn.Conv2d in kinds[1]
    for world in (small, large):
        picture = world.decode(torch.zeros(2, 3, world.config.latent))
        assert picture.shape == (2, 3, world.config.pixels)
        assert ((picture > 0) & (picture < 1)).all()


def test_the_divergence_of_pictures_by_hand():
    """Zero where chance and pixel agree, -log of the chance where the pixel is sure."""
    world = WorldModel(WorldConfig(observation=(8, 8, 1), actions=2, **SMALL))
    z = torch.randn(5, world.config.latent)
    foreseen = world.decode(z)
    assert world._picture_error(z, foreseen.detach()).abs().max() < 1e-5
    sure = (foreseen > 0.5).float()
    chance = torch.where(sure == 1, foreseen, 1 - foreseen)
    torch.testing.assert_close(world._picture_error(z, sure), -chance.log(), rtol=1e-4, atol=1e-5)


def test_a_pixel_that_is_surely_dark_still_learns():
    """Where a sigmoid is near zero the squared error has no gradient left, the divergence has all of it."""
    gradients = {}
    for kind in ("squared", "divergence"):
        torch.manual_seed(0)
        world = WorldModel(WorldConfig(observation=(8, 8, 1), actions=2, picture=kind, **SMALL))
        last = world.decoder[-1]
        assert isinstance(last, torch.nn.Linear)
        with torch.no_grad():
            last.bias.fill_(-9.0)
        world._picture_error(torch.randn(4, world.config.latent), torch.ones(4, 64)).sum().backward()
        assert last.bias.grad is not None
        gradients[kind] = last.bias.grad.abs().mean().item()
    assert gradients["divergence"] > 1000 * gradients["squared"]


@pytest.mark.parametrize("setting", [{"encoder": "vit"}, {"picture": "l1"}])
def test_unknown_pictures_are_refused(setting: dict[str, str]):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        WorldConfig(observation=(8, 8, 1), actions=2, **setting)


def test_actor_waits_until_the_world_model_has_had_its_part_of_the_run() -> None:
    config = DramaTraining(
        steps=260,
        environments=4,
        warmup=196,
        train_every=16,
        world_alone=0.5,
        batch=2,
        length=8,
        starts=4,
        context=4,
        horizon=3,
        world={"width": 16, "hidden": 16, "variables": 4, "classes": 4},
    )
    learner = Drama(config, EnvironmentSpec(id="catch"), seed=0)
    before = [p.detach().clone() for p in learner.network.actor.parameters()]
    moved = []
    while learner.steps < config.steps:
        learner.advance()
        after = list(learner.network.actor.parameters())
        moved.append(any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)))
    learner.close()
    assert moved == [False, False, False, True, True]  # the first is the warm-up
