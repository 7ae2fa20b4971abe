"""An episode as a moving picture: GIF through Pillow, MP4 through PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled

from statewise.core.errors import ConfigError, DataError, MissingExtraError
from statewise.core.train.atomic import replace_file
from statewise.rl.acting import Actor
from statewise.rl.environments.make import EnvironmentSpec, make
from statewise.rl.evaluation import SEEDS

__all__ = ["FORMATS", "film", "write_film"]

FORMATS = (".gif", ".mp4")


def film(
    actor: Actor, spec: EnvironmentSpec, *, seed: int = SEEDS, limit: int = 1000
) -> tuple[np.ndarray, float, float]:
    """The pictures of one episode (T + 1, H, W, 3) uint8, its return, and the environment's frames per
    second.

    Raises:
        MissingExtraError: the environment draws with a package that is not installed.
        DataError: the environment draws nothing.
    """
    env = make(spec, render=True)
    try:
        observation, _ = env.reset(seed=seed)
        actor.begin(1, seed)
        frames, total, reward, first = [_frame(env, spec)], 0.0, 0.0, True
        for _ in range(limit):
            action = actor.act(observation[None], np.array([reward]), np.array([first]))[0]
            observation, reward, terminated, truncated, _ = env.step(action)
            first = False
            total += reward
            frames.append(_frame(env, spec))
            if terminated or truncated:
                break
        return np.stack(frames), total, float(env.metadata.get("render_fps") or 30)
    finally:
        env.close()


def write_film(path: Path, frames: np.ndarray, rate: float) -> Path:
    """Write pictures as .gif or .mp4.

    Raises:
        ConfigError: the ending is another one.
        CheckpointError: the file cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            "is of a kind that is not written here",
            where="--out",
            seen=path.suffix or "no ending",
            expected=" or ".join(FORMATS),
            fix=f"name it {path.stem}.gif",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write = _gif if path.suffix.lower() == ".gif" else _mp4
    replace_file(path, lambda new: write(new, frames, rate))
    return path


def _frame(env: Any, spec: EnvironmentSpec) -> np.ndarray:
    try:
        picture = env.render()
    except DependencyNotInstalled as error:
        package = "pygame" if "pygame" in str(error) else str(error).split()[0]
        raise MissingExtraError(
            package, "gymnasium[classic-control,mujoco]", f"drawing {spec.label}"
        ) from None
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        raise DataError(
            "draws no picture",
            where=f"environment '{spec.label}'",
            seen=type(picture).__name__,
            expected="an array (H, W, 3) from render_mode='rgb_array'",
        )
    return picture.astype(np.uint8)


def _gif(path: Path, frames: np.ndarray, rate: float) -> None:
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    duration = max(20, round(1000 / rate))
    with open(path, "wb") as file:
        pictures[0].save(
            file, format="GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0
        )


def _mp4(path: Path, frames: np.ndarray, rate: float) -> None:
    import av

    height, width = (size - size % 2 for size in frames.shape[1:3])
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream("h264", rate=round(rate))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
