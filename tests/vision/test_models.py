"""The image models: published sizes, their equations as loops, any resolution, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from statewise.vision.info import describe
from statewise.vision.macs import multiply_adds, parameter_count
from statewise.vision.models import MODELS, build, lightnet, slices
from statewise.vision.models.lightnet import LightNetMixer
from statewise.vision.models.norms import RMSNorm
from statewise.vision.models.patches import PositionTable
from statewise.vision.models.positions2d import AxialDecay, RelativeCode, coordinates
from statewise.vision.models.vig import ViGMixer

PUBLISHED = {
    "vig-t": 5_834_536,
    "vig-s": 22_615_144,
    "vig-b": 89_022_184,
    "plstm-t": 6_314_404,
    "plstm-s": 23_272_288,
    "plstm-b": 89_121_496,
}
GIGAMACS = {"vig-t": "1.168", "vig-s": "4.481", "vig-b": "17.547"}
SMALL = {
    "vig": {"patch": 4, "d_model": 16, "depth": 2, "heads": 2, "mlp_multiple": 8},
    "vig-h": {"d_model": 8, "depths": (1, 1), "heads": (1, 2), "mlp_multiple": 8},
    "lightnet": {"patch": 4, "d_model": 16, "depth": 2, "heads": 2, "mlp_multiple": 8},
    "plstm": {"patch": 4, "d_model": 16, "depth": 2, "heads": 2},
    "hydra-vision": {"patch": 4, "d_model": 16, "depth": 2, "d_state": 8},
    "hgrn-vision": {"patch": 4, "d_model": 16, "depth": 2},
    "vit": {"patch": 4, "d_model": 16, "depth": 2, "heads": 2},
    "cnn": {"base": 8, "stages": 2},
}


def small(name: str, **settings):
    return build(name, channels=1, classes=3, height=12, width=12, **SMALL[name], **settings)


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_sizes_are_those_published(name, count):
    with torch.device("meta"):
        assert parameter_count(build(name)) == count


@pytest.mark.parametrize(("name", "giga"), GIGAMACS.items())
def test_multiply_adds_leave_nothing_out(name, giga):
    with torch.device("meta"):
        model = build(name)
    assert f"{multiply_adds(model, 1, 3, 224, 224) / 1e9:.3f}" == giga


def test_the_arrow_model_has_the_published_size():
    with torch.device("meta"):
        model = build("plstm", heads=6, classes=2, height=192, width=192)
    assert parameter_count(model) == 5_551_610


def test_multiply_adds_of_attention_are_counted_with_and_without_memory():
    found = describe("vit-t", [(224, 224)])
    with torch.device("meta"):
        bare = multiply_adds(build("vit-t"), 1, 3, 224, 224)
    assert found.costs[0].multiply_adds == bare
    tokens, d = 196, 192
    per_block = 12 * tokens * d * d + 2 * tokens * tokens * d
    assert bare == 12 * per_block + tokens * d * 768 + d * 1000


def test_memory_grows_with_the_pixels():
    costs = describe("vig-t", [(224, 224), (448, 448)]).costs
    assert 3.5 < costs[1].memory / costs[0].memory < 4.5


@pytest.mark.parametrize("name", list(MODELS))
def test_any_resolution_and_a_gradient_everywhere(name):
    model = small(name)
    assert model(torch.rand(2, 1, 12, 12)).shape == (2, 3)
    assert model(torch.rand(1, 1, 7, 30)).shape == (1, 3)
    loss = F.cross_entropy(model(torch.rand(4, 1, 12, 12)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert not silent
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters())


@pytest.mark.parametrize("name", list(MODELS))
def test_bf16_trains_what_fp32_does(name):
    """Under autocast, as `--precision bf16` trains: the same loss and gradients, to bf16's accuracy."""
    model = small(name)
    images, labels = torch.rand(4, 1, 12, 12), torch.tensor([0, 1, 2, 0])
    losses, gradients = [], []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert F.cosine_similarity(*gradients, dim=0) > 0.98


@pytest.mark.parametrize("name", [name for name in MODELS if name != "cnn"])
def test_examples_of_a_batch_do_not_see_each_other(name):
    model = small(name).double().eval()
    images = torch.rand(3, 1, 12, 16, dtype=torch.float64)
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), alone, rtol=0, atol=1e-6)


def test_vig_mixer_equals_its_equations():
    torch.manual_seed(1)
    mixer = ViGMixer(8, 2, 3, activate=True).double()
    x = torch.randn(1, 3, 4, 8, dtype=torch.float64)
    local = F.silu(F.conv2d(x.permute(0, 3, 1, 2), mixer.local.weight, padding=1, groups=8))
    tokens = local.permute(0, 2, 3, 1).reshape(12, 8)
    q, k, v = (tokens @ mixer.maps.weight.T).split((4, 4, 8), -1)
    z = mixer.decay_out(mixer.decay_in(tokens))
    ahead, back = (torch.sigmoid(z) ** (1 / 16)).split(4, -1)
    read = torch.zeros(12, 8, dtype=torch.float64)
    for head in range(2):
        keys, values = slice(2 * head, 2 * head + 2), slice(4 * head, 4 * head + 4)
        for order, a in ((range(12), ahead), (range(11, -1, -1), back)):
            state = torch.zeros(2, 4, dtype=torch.float64)
            for t in order:
                state = a[t, keys, None] * state + torch.outer(k[t, keys], v[t, values])
                read[t, values] += q[t, keys] @ state / 2**0.5 / 2
    torch.testing.assert_close(mixer.attend(tokens[None])[0], read, rtol=0, atol=1e-6)
    gate = torch.sigmoid(mixer.gate(tokens))

    def norm(y):
        heads = y.view(12, 2, 4)
        return (heads / (heads.square().mean(-1, keepdim=True) + 1e-6).sqrt()).view(12, 8)

    wanted = mixer.out(F.silu(norm(read) * gate + norm(tokens) * (1 - gate))).view(1, 3, 4, 8)
    torch.testing.assert_close(mixer(x), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["vig", "lightnet"])
def test_slices_change_nothing(name, monkeypatch):
    model = small(name).eval()
    images = torch.rand(2, 1, 20, 28)
    whole = model(images).detach()
    for module in (slices, lightnet):
        monkeypatch.setattr(module, "ROWS", 7)
    with torch.no_grad():
        torch.testing.assert_close(model(images), whole, rtol=0, atol=1e-5)
        monkeypatch.setattr(slices, "ROWS", 10_000)
        torch.testing.assert_close(model(images), whole, rtol=0, atol=1e-5)


def test_the_norm_is_that_of_pytorch_with_its_gradient():
    norm = RMSNorm(5, eps=1e-3)
    nn.init.normal_(norm.weight)
    norm.double()
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    wanted = F.rms_norm(x, (5,), norm.weight, 1e-3)
    torch.testing.assert_close(norm(x), wanted, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), wanted, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(norm, (x,))
    (wanted.sin().sum()).backward()
    gradient, norm.weight.grad = norm.weight.grad, None
    norm(x).sin().sum().backward()
    torch.testing.assert_close(norm.weight.grad, gradient, rtol=0, atol=1e-12)


def test_vig_has_no_preferred_end():
    """With one gate for both directions, reversing the tokens reverses what they read."""
    mixer = ViGMixer(8, 2, 3, activate=False).double()
    with torch.no_grad():
        mixer.decay_out.weight[4:] = mixer.decay_out.weight[:4]
        mixer.decay_out.bias[4:] = mixer.decay_out.bias[:4]
    tokens = torch.randn(1, 7, 8, dtype=torch.float64)
    read, turned = mixer.attend(tokens), mixer.attend(tokens.flip(1)).flip(1)
    torch.testing.assert_close(read, turned, rtol=0, atol=1e-6)


def test_vig_starts_as_published():
    model = build("vig-nano", channels=1, classes=10, height=28, width=28)
    mixer = model.blocks[0].mixer
    bound = 2**-2.5 * (6 / (64 + 128)) ** 0.5
    assert float(mixer.maps.weight.detach().abs().max()) <= bound
    assert not bool(mixer.decay_out.bias.any())
    assert float(model.blocks[0].mlp.inputs.weight.detach().std()) == pytest.approx(0.02, rel=0.05)


def test_lightnet_mixer_equals_its_equations():
    mixer = LightNetMixer(8, 2, "cosine").double()
    x, places = torch.randn(1, 6, 8, dtype=torch.float64), coordinates(2, 3).double()
    q, k, v = (part.view(6, 2, 4) for part in (x[0] @ mixer.maps.weight.T).split(8, -1))
    q, k = F.silu(q), torch.softmax(k.float(), 0).double()
    theta = mixer.code.theta.detach()
    o = torch.zeros(6, 2, 4, dtype=torch.float64)
    for head in range(2):
        for i in range(6):
            for j in range(6):
                gap = places[i] - places[j]
                turns = torch.cat([torch.cos(gap[a] * theta[a, head]) for a in (0, 1)])
                o[i, head] += (q[i, head] * k[j, head] * turns).sum() * v[j, head]
    o = o / (o.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    wanted = mixer.out(o.view(6, 8) * torch.sigmoid(mixer.gate(x[0])))
    torch.testing.assert_close(mixer(x, places)[0], wanted, rtol=0, atol=1e-6)


def test_lightnet_is_free_of_order():
    model = small("lightnet").double()
    tokens, places = torch.randn(2, 12, 16, dtype=torch.float64), coordinates(3, 4).double()
    order = torch.randperm(12)
    plain, moved = model.tokens(tokens, places), model.tokens(tokens[:, order], places[order])
    torch.testing.assert_close(plain[:, order], moved, rtol=0, atol=1e-6)
    elsewhere = model.tokens(tokens[:, order], places)
    assert float((elsewhere - plain[:, order]).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["cosine", "rotary"])
def test_codes_know_only_distances(kind):
    code = RelativeCode(2, 8, kind).double()
    q, k = torch.randn(2, 1, 5, 2, 8, dtype=torch.float64)
    places = torch.randint(0, 9, (5, 2)).double()
    here, there = (torch.einsum("bnhk,bmhk->bhnm", code(q, at), code(k, at)) for at in (places, places + 7))
    torch.testing.assert_close(here, there, rtol=0, atol=1e-9)


def test_axial_decay_is_a_weighted_mean_along_both_axes():
    layer = AxialDecay(4, 2).double()
    x = torch.randn(1, 3, 5, 4, dtype=torch.float64)
    rates = torch.sigmoid(layer.decay.detach()).repeat_interleave(2)
    heard = torch.zeros_like(x)
    for axis, length in ((1, 3), (2, 5)):
        rows = x.movedim(axis, 1)
        gaps = (torch.arange(length)[:, None] - torch.arange(length)).abs()
        weights = rates ** gaps[..., None]
        mixed = torch.einsum("nmd,bmrd->bnrd", weights, rows) / weights.sum(1)[:, None]
        heard = heard + mixed.movedim(1, axis)
    wanted = x + layer.out(layer.norm(heard))
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-5)


def test_positions_are_resized_as_pinned():
    table = PositionTable((2, 2), 1)
    with torch.no_grad():
        table.table.copy_(torch.tensor([[0.0, 1.0], [2.0, 3.0]]).view(1, 2, 2, 1))
    same = table(torch.zeros(1, 2, 2, 1))
    assert same.flatten().tolist() == [0.0, 1.0, 2.0, 3.0]
    row = table(torch.zeros(1, 2, 4, 1))[0, 0, :, 0]
    # cubic convolution with a = -0.75 at -1/4, 1/4, 3/4 and 5/4, the border repeated
    wanted = torch.tensor([-0.1055, 0.2266, 0.7734, 1.1055])
    torch.testing.assert_close(row, wanted, rtol=0, atol=1e-3)


def test_plstm_reads_the_corners():
    model = small("plstm")
    grid = torch.arange(12.0).view(1, 3, 4, 1).expand(-1, -1, -1, 16)
    assert model.pool(grid)[0, ::16].tolist() == [0.0, 8.0, 3.0, 11.0]


def test_plstm_has_the_same_output_by_either_form(monkeypatch):
    from statewise.core.layers import plstm2d

    model = small("plstm").double().eval()
    images = torch.rand(1, 1, 12, 20, dtype=torch.float64)
    outputs = []
    for form in ("pairs", "scan"):
        monkeypatch.setattr(plstm2d, "cheaper_form", lambda nodes, width, form=form, **facts: form)
        outputs.append(model(images))
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-10)


def test_hgrn_bounds_rise_with_depth():
    from statewise.core.layers.hgrn import lower_bounds

    model = small("hgrn-vision")
    bounds = lower_bounds(model.bounds)
    assert not bool(bounds[0].any())
    assert bool((bounds[1:] > bounds[:-1]).all())
