"""The `vision data make` program: sets of images and clips that are drawn, not photographed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from statewise.core.cli.app import App
from statewise.core.cli.options import Seed, Terminal, at_least
from statewise.vision import __version__

__all__ = ["make_app"]

make_app = App("vision data make", summary="Make a data set.", version=__version__)

Count = Annotated[int, Parameter(validator=at_least(1))]


@make_app.command
def arrow(
    out: Path,
    /,
    *,
    count: Count = 1000,
    size: Count = 192,
    scale: Annotated[float, Parameter(validator=at_least(0.01))] = 1.0,
    seed: Seed = 42,
    console: Terminal,
) -> None:
    """Arrows that point at a circle or past it: two class folders of PNG files.

    Example: vision data make arrow arrows/ --count 2000 --size 96 --scale 0.5

    Args:
        out: Folder to make.
        count: Images.
        size: Pixels a side.
        scale: Of circles, arrows and margins; 1 is that of the paper.
        seed: of the drawing; the paper's training set has 42.
    """
    from statewise.vision.generators.arrow import write_arrows

    counts = write_arrows(out, count=count, size=size, scale=scale, seed=seed)
    console.show(f"{out}: {counts[1]} images that point at the circle, {counts[0]} that do not")
    console.result({"path": str(out), "points": counts[1], "misses": counts[0], "seed": seed, "size": size})


@make_app.command
def moving_mnist(
    out: Path,
    digits: str,
    /,
    *,
    count: Count = 100,
    frames: Count = 20,
    size: Count = 64,
    preset: Literal["openstl", "convssm"] = "openstl",
    seed: Seed = 0,
    console: Terminal,
) -> None:
    """Clips of two digits that move and bounce: one .npy file per clip.

    Example: vision data make moving-mnist clips/ fashion-mnist --count 200

    Args:
        out: Folder to make.
        digits: Where the digits are from: fashion-mnist, mnist, or a folder of IDX files.
        count: Clips.
        frames: Frames per clip.
        size: Pixels a side.
        preset: Step per frame: openstl 0.1, convssm 0.15 of the way.
        seed: of the motion and the choice of digits.
    """
    from statewise.vision.video.moving import write_clips

    write_clips(out, digits, count=count, frames=frames, size=size, preset=preset, seed=seed)
    console.show(f"{out}: {count} clips of {frames} frames")
    console.result({"path": str(out), "clips": count, "frames": frames, "seed": seed})
