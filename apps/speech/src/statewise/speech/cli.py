"""The `speech` command. The bodies import what they need: `--help` must not wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from statewise.core.cli.app import App
from statewise.core.cli.options import Budget, Device, Epochs, Out, Resume, Seed, Terminal, Threads
from statewise.speech import __version__
from statewise.speech.models import DEFAULT

__all__ = ["app", "main"]

app = App(
    "speech",
    summary="Speech without the noise: files of any kind, or frame by frame as a stream.",
    version=__version__,
    extras={"pesq": "statewise-speech[pesq]"},
)

SOUND = Group("Sound", sort_key=5)
OUTPUT = Group("Output", sort_key=6)
DATA = Group("Data", sort_key=4)

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
    model: Model = DEFAULT,
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


@app.command
def separate(
    sources: list[str],
    /,
    *,
    model: Annotated[str, Parameter(help="The directory of a run of `speech fit --model mossformer2-tiny`.")],
    out: Annotated[
        str | None, Parameter(alias="-o", group=OUTPUT, help="Folder; else beside each input.")
    ] = None,
    threads: Threads = None,
    console: Terminal,
) -> None:
    """Separate the speakers of a mixture into one file each.

    Long files are done in windows whose speakers keep their places. No weights come with the package: train
    them on clean speech of several speakers with `speech fit --model mossformer2-tiny --clean DIR`.

    Example: speech separate meeting.wav --model runs/voices-mossformer2-tiny

    Args:
        sources: Files, folders, patterns or @list.txt.
        threads: CPU threads; one for small models.
    """
    from statewise.speech.api import separate_paths
    from statewise.speech.narrate import tell_separated

    with console.progress("Separating") as bar:
        done = separate_paths(sources, out, model=model, threads_wanted=threads, progress=bar.update)
    tell_separated(done, console)


Folders = Annotated[list[str] | None, Parameter(group=DATA, show_default=False)]


@app.command(alias="train")
def fit(
    *,
    clean: Folders = None,
    noise: Folders = None,
    rooms: Folders = None,
    valid_clean: Folders = None,
    valid_noise: Folders = None,
    pairs: Annotated[tuple[str, str] | None, Parameter(group=DATA, show_default=False)] = None,
    model: str = DEFAULT,
    start: str | None = None,
    loss: Literal["compressed", "paper"] = "compressed",
    snr: tuple[float, float] = (-5.0, 20.0),
    length: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    eval_every: int = 200,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    epochs: Epochs = None,
    budget: Budget = None,
    resume: Resume = None,
    console: Terminal,
) -> None:
    """Train a model on folders of clean speech and of noise.

    Every example is mixed anew: speaker, noise, signal-to-noise ratio, level, equaliser, room, band. A tenth
    of the speakers and kinds of noise is held out and chooses the weights, unless other folders are named.
    The speaker of a file is the folder it stands in, or what its name has before a double underscore. Models
    that separate train on mixtures of speakers and need no noise.

    Example: speech fit --clean voices/ --noise noises/ --budget 1h

    Args:
        clean: Folders of clean speech, several allowed.
        noise: Folders of noise; without any, noise is computed.
        rooms: Folders of room responses.
        valid_clean: Clean speech that chooses the weights.
        valid_noise: Noise for it.
        pairs: A folder of clean and one of noisy files of the same names, which choose the weights too.
        model: A name out of `speech models`, with or without a preset.
        start: A model of the same settings, by name or directory, whose weights are trained further.
        loss: compressed, or that of the FRCRN paper.
        snr: Least and largest signal-to-noise ratio in dB.
        length: Seconds of an example; by default 1.5.
        batch_size: Examples per step; by default 6.
        learning_rate: Peak learning rate; by default that of the model.
        precision: Arithmetic of the network in training; bf16 is faster where the processor knows it.
        eval_every: Steps between evaluations.
        out: Run directory; by default runs/DATA-MODEL. No run is overwritten.
        seed: Seed of everything random.
        device: auto, cpu, cuda, cuda:1, mps.
        threads: CPU threads; one for small models.
        epochs: Thousands of mixtures; there is then no time limit unless --budget sets one.
        budget: Wall time: 60, 60s, 10m, 1h30m; by default ten minutes, with --epochs no limit.
        resume: Run directory to continue; its settings are taken over, but for --budget, of the whole run.
    """
    from statewise.speech.fit_report import write_report
    from statewise.speech.fitting import fit_run, resume_run
    from statewise.speech.mixing import MixingConfig
    from statewise.speech.narrate import tell_fit
    from statewise.speech.settings import FitSettings

    with console.progress("Fitting") as bar:
        if resume is not None:
            outcome = resume_run(resume, budget=budget, say=console.say, progress=bar.update)
        else:
            settings = FitSettings(
                clean=tuple(clean or ()),
                noise=tuple(noise or ()),
                rooms=tuple(rooms or ()),
                valid_clean=tuple(valid_clean or ()),
                valid_noise=tuple(valid_noise or ()),
                pairs=pairs,
                model=model,
                start=start,
                loss=loss,
                mixing=MixingConfig(snr=snr, seconds=1.5 if length is None else length),
                batch_size=6 if batch_size is None else batch_size,
                learning_rate=learning_rate,
                precision=precision,
                eval_every=eval_every,
                seed=seed,
                device=device,
                threads=threads,
                epochs=epochs,
                budget=budget,
            )
            outcome = fit_run(settings, out=out, say=console.say, progress=bar.update)
        write_report(outcome)
    tell_fit(outcome, console)


@app.command(alias="evaluate")
def score(
    estimates: str,
    clean: str,
    /,
    *,
    model: Annotated[list[str] | None, Parameter(show_default=False)] = None,
    noisy: str | None = None,
    metrics: Annotated[list[str] | None, Parameter(show_default=False)] = None,
    each: Annotated[bool, Parameter(negative=())] = False,
    threads: Threads = None,
    console: Terminal,
) -> None:
    """Measure enhanced files against clean ones, the noisy input beside them.

    Files belong together by name. Each is shifted by the lag at which it fits best, then measured. With
    --model, the first word names noisy files: they are run through the model and through the baselines.

    Example: speech score enhanced/ clean/ --noisy noisy/

    Args:
        estimates: A file or folder of enhanced speech; of noisy speech with --model.
        clean: The clean files of the same names.
        model: Models to run over the files; several allowed.
        noisy: The noisy files, to be measured too.
        metrics: stoi, si_sdr and pesq (an extra); by default the first two, and pesq where it is installed.
        each: Show every file.
        threads: CPU threads; one for small models.
    """
    from statewise.speech.api import score_paths
    from statewise.speech.narrate import tell_scores

    with console.progress("Scoring") as bar:
        scores = score_paths(
            estimates,
            clean,
            models=model or (),
            noisy=noisy,
            names=metrics,
            threads_wanted=threads,
            progress=bar.update,
        )
    tell_scores(scores, console, each=each)


@app.command
def stream(
    *,
    model: Model = DEFAULT,
    encoding: Literal["s16le", "f32le"] = "s16le",
    threads: Threads = None,
    console: Terminal,
) -> None:
    """Enhance raw samples from standard input to standard output, block by block, as they come.

    One channel at the rate of the model, 16 kHz. In the end the time that the blocks took is told.

    Example: arecord -r 16000 -f S16_LE -t raw | speech stream | aplay -r 16000 -f S16_LE -t raw

    Args:
        model: A model that streams.
        encoding: s16le for 16-bit integers, f32le for 32-bit floats.
        threads: CPU threads; one for small models.
    """
    from statewise.speech.api import stream_standard
    from statewise.speech.narrate import tell_latency

    tell_latency(stream_standard(model, encoding, threads_wanted=threads), console)


@app.command
def vad(
    sources: list[str],
    /,
    *,
    model: Model = DEFAULT,
    out: Annotated[
        Path | None, Parameter(alias="-o", help="CSV file; by default the table is printed.")
    ] = None,
    threads: Threads = None,
    console: Terminal,
) -> None:
    """Find where somebody speaks: start and end of every segment.

    Example: speech vad meeting.wav -o segments.csv

    Args:
        sources: Files, folders, patterns or @list.txt.
        threads: CPU threads; one for small models.
    """
    from statewise.speech.api import find_segments
    from statewise.speech.narrate import tell_segments

    with console.progress("Listening") as bar:
        found = find_segments(sources, model=model, threads_wanted=threads, progress=bar.update)
    tell_segments(found, console, out)


@app.command
def export(
    path: Path,
    /,
    *,
    model: Model = DEFAULT,
    batch_size: int = 1,
    format: Literal["onnx", "pt2"] = "onnx",
    console: Terminal,
) -> None:
    """Write one file that takes a block of samples and its state and gives the block before, enhanced.

    Transform, model and overlap are all inside. Names, shapes and first values of the state are in the file's
    metadata under "statewise".

    Example: speech export enhancer.onnx

    Args:
        path: The file to write.
        batch_size: Streams side by side.
        format: onnx, or pt2 for torch.export.load.
    """
    from statewise.speech.api import export_model

    exported = export_model(model, path, batch_size=batch_size, format=format)
    console.show(f"{path}: x {exported.x}, y the same, {len(exported.state)} tensors of state")
    console.result(
        {"path": str(path), "x": list(exported.x), "state": [vars(port) for port in exported.state]}
    )


@app.command
def bench(
    *,
    model: Annotated[list[str] | None, Parameter(show_default=False)] = None,
    rounds: int = 3,
    console: Terminal,
) -> None:
    """Measure the speed of models on this machine: CPU time per second of sound, time per block.

    Example: speech bench --model frcrn-tiny-causal --model wiener

    Args:
        model: Names, with or without weights; by default what is in the package and the baselines.
        rounds: How often each is timed; the best counts.
    """
    from statewise.speech.api import bench_models
    from statewise.speech.narrate import tell_speeds

    with console.progress("Timing") as bar:
        speeds = bench_models(model or (), rounds=rounds, progress=bar.update)
    tell_speeds(speeds, console)


@app.command
def models(*, console: Terminal) -> None:
    """List the models: family, what they do, whether they stream, source."""
    from statewise.core.cli.catalogue import list_models
    from statewise.speech.models import MODELS

    list_models(MODELS, console, facts=("family", "does", "streaming", "presets"))


@app.command
def data(name: str | None = None, path: Path | None = None, /, *, console: Terminal) -> None:
    """List the named public recordings, or check a local copy of one.

    Example: speech data asterisk-en asterisk-core-sounds-en-g722_1.6.1-1_all.deb

    Args:
        name: Name of a data set.
        path: A local file to check against its sha256.
    """
    from statewise.core.cli.catalogue import list_datasets
    from statewise.speech.datasets import DATASETS

    list_datasets(DATASETS, console, name, path)


def main() -> int:
    """Run the command line; the exit code."""
    return app.run()


if __name__ == "__main__":  # for `torchrun -m statewise.speech.cli`
    raise SystemExit(main())
