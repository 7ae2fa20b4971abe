"""Video: clips, figures, models as loops and streams, exact equivariance, and a run from end to end."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from statewise.core.errors import CheckpointError, DataError, Interrupted
from statewise.vision.video.api import evaluate_video, load_video, predict_video, train_video
from statewise.vision.video.clips import open_clips, read_clip
from statewise.vision.video.metrics import frame_scores
from statewise.vision.video.models import VIDEO_MODELS, build_video
from statewise.vision.video.models.frame_model import followed, rollout
from statewise.vision.video.models.pfgnet import PeripheralMixer, frequencies
from statewise.vision.video.moving import moving_clips
from statewise.vision.video.settings import VideoSettings
from statewise.vision.video.task import VideoTask, baseline_scores, divergence

SMALL = {
    "convs5": {"d_model": 6, "d_state": 8, "depth": 2},
    "convlstm": {"d_model": 6, "depth": 2},
    "fernn": {"d_model": 4, "depth": 1},
    "pfgnet": {"d_model": 4, "depth": 1, "window": 3, "kernels": (3, 5)},
}
DIGITS = np.random.default_rng(0).integers(0, 255, (5, 8, 8), dtype=np.uint8)


def small(name: str):
    return build_video(name, **SMALL[name])


@pytest.mark.parametrize("name", list(VIDEO_MODELS))
@torch.no_grad()
def test_all_frames_at_once_equal_a_stream(name):
    model = small(name)
    frames = torch.rand(2, 9, 1, 8, 12)
    whole, _ = model(frames)
    state, steps = None, []
    for frame in frames.unbind(1):
        after, state = model.step(frame, state)
        steps.append(after)
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=0, atol=1e-5)
    first, state = model(frames[:, :4])
    second, state = model(frames[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_convs5_streams_for_five_hundred_frames():
    model = small("convs5")
    frames = torch.rand(1, 500, 1, 4, 4)
    whole, _ = model(frames)
    state = None
    for t in range(500):
        after, state = model.step(frames[:, t], state)
    torch.testing.assert_close(after, whole[:, -1], rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_future_does_not_reach_back():
    for name in VIDEO_MODELS:
        model = small(name)
        frames = torch.rand(1, 6, 1, 8, 8)
        before = model(frames)[0][:, :3]
        frames[:, 3:] = 0
        torch.testing.assert_close(model(frames)[0][:, :3], before, rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_rollout_feeds_its_own_frames_back():
    model = small("convlstm")
    seen = torch.rand(1, 4, 1, 8, 8)
    found = rollout(model, seen, 3)
    by_hand = seen
    for t in range(3):
        by_hand = torch.cat([by_hand, model(by_hand)[0][:, -1:]], 1)
        torch.testing.assert_close(found[:, t], by_hand[:, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list(VIDEO_MODELS))
def test_forcing_all_frames_or_those_given(name: str):
    """Forced by all, the loss is that of the next frames; by those given, that of a rollout behind them."""
    clips = np.random.default_rng(0).integers(256, size=(2, 6, 1, 8, 8), dtype=np.uint8)
    model, some = small(name), np.arange(2)
    batch = torch.from_numpy(clips).float() / 255
    by_next = divergence(model(batch[:, :-1])[0], batch[:, 1:]).mean()
    shown = model(batch[:, :4])[0]
    by_rollout = divergence(
        torch.cat([shown[:, :3], rollout(model, batch[:, :4], 2)], 1), batch[:, 1:]
    ).mean()
    for forcing, wanted in (("all", by_next), ("given", by_rollout)):
        task = VideoTask(model, clips, some, some, 4, forcing)
        loss = task.loss(model, task.batch(torch.arange(2)))
        torch.testing.assert_close(loss, wanted, rtol=0, atol=1e-6)


def test_gradients_pass_through_the_frames_that_are_fed_back():
    model, seen = small("convs5"), torch.rand(1, 3, 1, 8, 8, requires_grad=True)
    predicted, state = model(seen)
    (wanted,) = torch.autograd.grad(model(predicted[:, -1:], state)[0].sum(), seen)
    (found,) = torch.autograd.grad(followed(model, seen, 2)[:, -1].sum(), seen)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-7)


@torch.no_grad()
def test_fernn_is_exact_under_motion_by_whole_pixels():
    """The hidden image of velocity v + w over a clip moved by w per frame is that of v, moved as far."""
    model = small("fernn").double()
    still = torch.rand(1, 6, 1, 9, 10, dtype=torch.float64)
    moved = torch.stack([still[:, t].roll((t, -t), (-2, -1)) for t in range(6)], 1)
    plain, shifted = model(still)[1], model(moved)[1]
    compared = 0
    for i, (down, right) in enumerate(model.velocities):
        if (down + 1, right - 1) in model.velocities:
            other = shifted[:, model.velocities.index((down + 1, right - 1))]
            torch.testing.assert_close(other, plain[:, i].roll((5, -5), (-2, -1)), rtol=0, atol=1e-12)
            compared += 1
    assert compared == 4


@torch.no_grad()
def test_fernn_is_exact_under_shifts_of_the_clip():
    model = small("fernn").double()
    frames = torch.rand(1, 5, 1, 8, 9, dtype=torch.float64)
    plain, moved = model(frames)[0], model(frames.roll((3, 2), (-2, -1)))[0]
    torch.testing.assert_close(moved, plain.roll((3, 2), (-2, -1)), rtol=0, atol=1e-12)


@torch.no_grad()
def test_convlstm_equals_its_equations():
    layer = small("convlstm").layers[0].double()
    x = torch.randn(1, 4, 6, 3, 3, dtype=torch.float64)
    h = c = torch.zeros(1, 6, 3, 3, dtype=torch.float64)
    wanted = []
    for t in range(4):
        joined = torch.cat([layer.inputs.weight, layer.carried.weight], 1)
        gates = F.conv2d(torch.cat([x[:, t], h], 1), joined, layer.inputs.bias, padding=1)
        i, f, g, o = gates.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        wanted.append(h)
    start = (torch.zeros_like(h), torch.zeros_like(h))
    torch.testing.assert_close(layer(x, start)[0], torch.stack(wanted, 1), rtol=0, atol=1e-12)


@torch.no_grad()
def test_pfgnet_chooses_its_kernels_by_local_frequency():
    mixer = PeripheralMixer(2, (3, 5)).double()
    mixer.beta.normal_()
    u = torch.randn(1, 2, 6, 7, dtype=torch.float64)
    padded = F.pad(u, (1, 1, 1, 1))[0]
    maps = torch.zeros(3, 6, 7, dtype=torch.float64)
    for i in range(6):
        for j in range(7):
            w = padded[:, i : i + 3, j : j + 3]
            right = (w[:, :, 2] - w[:, :, 0]) @ w.new_tensor([1.0, 2.0, 1.0])
            down = (w[:, 2] - w[:, 0]) @ w.new_tensor([1.0, 2.0, 1.0])
            curved = w[:, 0, 1] + w[:, 2, 1] + w[:, 1, 0] + w[:, 1, 2] - 4 * w[:, 1, 1]
            maps[0, i, j] = (right**2 + down**2 + 1e-6).sqrt().mean()
            maps[1, i, j] = curved.abs().mean()
            maps[2, i, j] = (w**2).mean((1, 2)).sub(w.mean((1, 2)) ** 2).mean()
    torch.testing.assert_close(frequencies(u)[0], maps, rtol=0, atol=1e-12)
    shares = torch.softmax(mixer.choice(maps[None]), 1)
    wanted = torch.zeros_like(u)
    for n in range(2):
        square = mixer.across[n].weight * mixer.along[n].weight
        large = F.conv2d(u, square, padding=square.shape[-1] // 2, groups=2)
        wanted += shares[:, n, None] * (large - mixer.beta[n].tanh() * mixer.centre[n](u))
    torch.testing.assert_close(mixer(u), wanted, rtol=0, atol=1e-12)


@torch.no_grad()
def test_pfgnet_sees_a_window():
    model = small("pfgnet")
    frames = torch.rand(1, 6, 1, 8, 8)
    before = model(frames)[0]
    frames[:, 2] = 0
    after = model(frames)[0]
    same = [torch.equal(before[:, t], after[:, t]) for t in range(6)]
    assert same == [True, True, False, False, False, True]


def test_figures_of_frames():
    true = torch.zeros(1, 2, 1, 16, 16)
    guess = torch.full_like(true, 0.1)
    found = frame_scores(guess, true)
    assert found["mse"][0].tolist() == pytest.approx([2.56, 2.56], rel=1e-5)
    assert found["mae"][0, 0].item() == pytest.approx(25.6, rel=1e-5)
    assert found["psnr"][0, 0].item() == pytest.approx(20.0, abs=1e-4)
    picture = torch.rand(1, 1, 1, 20, 20)
    assert frame_scores(picture, picture)["ssim"].item() == pytest.approx(1.0, abs=1e-5)
    # a constant shift leaves only the term of the means
    flat = frame_scores(torch.full((1, 1, 12, 12), 0.6), torch.full((1, 1, 12, 12), 0.4))
    wanted = (2 * 0.24 + 1e-4) / (0.52 + 1e-4)
    assert flat["ssim"].item() == pytest.approx(wanted, abs=1e-4)


def test_moving_clips_are_the_same_on_every_machine():
    clips = moving_clips(DIGITS, count=3, frames=30, size=24, seed=4)
    assert np.array_equal(clips[2], moving_clips(DIGITS, count=5, frames=30, size=24, seed=4)[2])
    assert clips.any(axis=(2, 3)).all()
    assert clips.max() <= DIGITS.max()


def test_a_digit_goes_its_step_and_turns_at_walls():
    from statewise.vision.video.moving import _path

    path = _path(np.random.default_rng(0), 40, 0.1)
    gaps = np.hypot(*np.diff(path, axis=0).T)
    assert path.min() >= 0
    assert path.max() <= 1
    assert np.median(gaps) == pytest.approx(0.1)


def test_clips_of_every_kind(tmp_path: Path):
    clip = moving_clips(DIGITS, count=1, frames=5, size=24)[0]
    pictures = [Image.fromarray(frame) for frame in clip]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    np.save(tmp_path / "b.npy", clip)
    (tmp_path / "c").mkdir()
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / "c" / f"{i}.png")
    with av.open(str(tmp_path / "d.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for frame in clip:
            padded = np.zeros((32, 32, 3), np.uint8)
            padded[:24, :24] = frame[..., None]
            for packet in stream.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    source = open_clips(tmp_path)
    assert [path.name for path in source.paths] == ["a.gif", "b.npy", "c", "d.mp4"]
    assert np.array_equal(read_clip(tmp_path / "b.npy")[..., 0], clip)
    assert np.array_equal(read_clip(tmp_path / "c")[..., 0], clip)
    assert read_clip(tmp_path / "d.mp4").shape == (5, 32, 32, 3)
    gif = read_clip(tmp_path / "a.gif")
    assert gif.shape[:3] == (5, 24, 24)
    assert abs(gif[..., 0].astype(int) - clip).mean() < 3


def test_baselines_are_what_they_say():
    clips = np.zeros((1, 4, 1, 8, 8), np.uint8)
    clips[0, 3] = 255
    found = baseline_scores(clips, 2, np.full((1, 8, 8), 0.5))
    assert found["last frame"]["mse"][0].tolist() == [0.0, 64.0]
    assert found["mean frame"]["mse"][0].tolist() == [16.0, 16.0]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for i, clip in enumerate(moving_clips(DIGITS, count=12, frames=8, size=16, each=1)):
        np.save(folder / f"{i:02d}.npy", clip)
    return folder


@pytest.mark.parametrize("model", ["convlstm-nano", "convs5-nano"])
def test_a_run_from_end_to_end(clips: Path, tmp_path: Path, model: str):
    settings = VideoSettings(data=str(clips), model=model, frames=8, epochs=2)
    outcome = train_video(settings, out=tmp_path / "run")
    assert list(outcome.scores)[1:] == ["last frame", "mean frame"]
    assert all(math.isfinite(value) for value in outcome.scores[model.split("-")[0]].values())
    assert (tmp_path / "run" / "report.html").exists()
    with Image.open(tmp_path / "run" / "prediction.gif") as picture:
        assert 2 <= getattr(picture, "n_frames", 1) <= 8  # equal frames become one that lasts longer
    seen, found = predict_video(tmp_path / "run", clips / "00.npy", frames=11)
    assert seen.shape == (8, 1, 16, 16)
    assert found.shape == (11, 1, 16, 16)
    longer = evaluate_video(tmp_path / "run", clips, given=2, frames=4)
    assert longer.clips == 24
    video, mean = load_video(tmp_path / "run")
    assert mean.shape == (1, 16, 16)
    assert video.frames == 8


def test_a_stopped_run_goes_on_to_the_bit(clips: Path, tmp_path: Path):
    settings = VideoSettings(data=str(clips), frames=8, epochs=2, batch_size=4)
    train_video(settings, out=tmp_path / "whole")
    steps = 0

    def stop(fraction: float, words: str) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:  # in the midst of an epoch
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train_video(settings, out=tmp_path / "cut", progress=stop)
    resumed = train_video(VideoSettings(data=""), resume=tmp_path / "cut")
    ours, theirs = (load_video(tmp_path / name)[0].network.state_dict() for name in ("cut", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert resumed.scores == json.loads((tmp_path / "whole" / "scores.json").read_text())


def test_a_resumed_run_refuses_other_clips(clips: Path, tmp_path: Path):
    folder = tmp_path / "clips"
    shutil.copytree(clips, folder)
    train_video(
        VideoSettings(data=str(folder), model="convlstm-nano", frames=8, epochs=1), out=tmp_path / "run"
    )
    np.save(folder / "00.npy", np.zeros((8, 16, 16), np.uint8))
    with pytest.raises(CheckpointError, match="began with other data"):
        train_video(VideoSettings(data=""), resume=tmp_path / "run")


def test_clips_that_are_too_short_are_refused_with_a_number(clips: Path):
    with pytest.raises(DataError, match=r"(?s)at most 8 frames.*--frames 8"):
        train_video(VideoSettings(data=str(clips), frames=20, epochs=1))


def test_divergence_is_least_at_the_mean_and_passes_a_saturated_sigmoid():
    from statewise.vision.video.task import divergence

    true = torch.tensor([0.0, 0.0, 0.5, 1.0])
    guesses = torch.linspace(0.05, 0.95, 19)
    costs = torch.stack([divergence(guess.expand(4), true).mean() for guess in guesses])
    assert guesses[costs.argmin()] == pytest.approx(0.4, abs=0.03)  # the mean is 0.375
    logit = torch.tensor([-15.0], requires_grad=True)
    divergence(torch.sigmoid(logit), torch.ones(1)).sum().backward()
    assert logit.grad is not None
    assert float(logit.grad) == pytest.approx(-1.0, abs=1e-3)
