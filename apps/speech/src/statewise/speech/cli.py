"""The `speech` command. The bodies import what they need: `--help` must not wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from statewise.core.cli.app import App
from statewise.core.cli.options import Terminal, Threads
from statewise.speech import __version__

__all__ = ["app", "main"]

app = App(
    "speech",
    summary="Speech without the noise: files of any kind, or frame by frame as a stream.",
    version=__version__,
    extras={"pesq": "statewise-speech[pesq]"},
)

SOUND = Group("Sound", sort_key=5)
OUTPUT = Group("Output", sort_key=6)

Model = Annotated[str, Parameter(help="A name out of `speech models`, or the directory of a run.")]
Channels = Annotated[
    Literal["each", "mid", "mono"],
    Parameter(
        group=SOUND,
        help="each: every channel for itself; mid: all by the mask of their mean, which keeps the image; "
        "mono: their mean.",
    ),
]
HighBand = Annotated[
    Literal["follow", "keep", "drop"],
    Parameter(
        group=SOUND, help="Above 8 kHz: follow the gain of 4 to 8 kHz, keep what is there, or drop it."
    ),
]
Mix = Annotated[float, Parameter(group=SOUND, help="Share of the enhanced signal; the rest is the input.")]
Limit = Annotated[
    float | None, Parameter(group=SOUND, help="Most attenuation in dB, for a natural background: 12.")
]


@app.command(alias="predict")
def enhance(
    sources: list[str],
    /,
    *,
    out: Annotated[
        str | None,
        Parameter(
            alias="-o", group=OUTPUT, help="File for one input, folder for several; else beside each input."
        ),
    ] = None,
    model: Model = "frcrn-tiny-causal",
    channels: Channels = "each",
    high_band: HighBand = "follow",
    mix: Mix = 1.0,
    limit: Limit = None,
    format: Annotated[str | None, Parameter(group=OUTPUT, help="Ending of outputs: wav, flac, ogg.")] = None,
    overwrite: Annotated[
        bool, Parameter(group=OUTPUT, negative=(), help="Do again what is there already.")
    ] = False,
    plot: Annotated[
        bool, Parameter(group=OUTPUT, negative=(), help="Spectrograms as PNG beside each output.")
    ] = False,
    report: Annotated[
        Path | None, Parameter(group=OUTPUT, help="HTML page with spectrograms and players.")
    ] = None,
    threads: Threads = None,
    console: Terminal,
) -> None:
    """Take the noise out of recordings of speech.

    Any rate, number of channels and length; the output has the same, to the sample. Without --out it stands
    beside the input as NAME-enhanced. Of two words, the second is the output: `speech enhance in.wav x.wav`.
    Folders keep their tree; `@list.txt` names a list; `-` is standard input and output. What is there already
    is skipped.

    Example: speech enhance noisy.wav clean.wav

    Args:
        sources: Files, folders, patterns, @list.txt or -; with exactly two, the second may be the output.
    """
    from statewise.speech.api import EnhanceOptions, enhance_paths
    from statewise.speech.narrate import output_of, tell_enhanced

    sources, out = output_of(sources, out)
    options = EnhanceOptions(channels=channels, high_band=high_band, mix=mix, limit=limit)
    with console.progress("Enhancing") as bar:
        result = enhance_paths(
            sources,
            out,
            model=model,
            options=options,
            ending=None if format is None else f".{format.lstrip('.')}",
            overwrite=overwrite,
            plot=plot,
            report=report,
            threads_wanted=threads,
            progress=bar.update,
        )
    tell_enhanced(result, console, report)


def main() -> int:
    """Run the command line; the exit code."""
    return app.run()


if __name__ == "__main__":  # for `torchrun -m statewise.speech.cli`
    raise SystemExit(main())
