"""What the `speech` command does, as functions.

from statewise.speech.api import EnhanceOptions, enhance_paths

result = enhance_paths(["noisy.wav"], out="clean.wav")
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import soxr

from statewise.core.errors import UserError
from statewise.core.export import Exported, Format, export_step
from statewise.core.train import resolve_device, threads
from statewise.speech import metrics, pretrained, spectrogram
from statewise.speech.audio import read_sound
from statewise.speech.enhancing import Outcome, enhance_files
from statewise.speech.models import MODELS, build
from statewise.speech.models.enhancer import Enhancer
from statewise.speech.models.separator import Separator
from statewise.speech.pipeline import EnhanceOptions
from statewise.speech.places import find_sounds, jobs
from statewise.speech.scoring import Scores, score_files, score_models
from statewise.speech.separating import Separated, separate_files
from statewise.speech.speed import Speed, measure
from statewise.speech.stepping import BlockEnhancer
from statewise.speech.streaming import Encoding, Latency, stream
from statewise.speech.vad import Segment, VadOptions, find_speech

__all__ = [
    "EnhanceOptions",
    "Enhanced",
    "bench_models",
    "enhance_paths",
    "enhancer",
    "export_model",
    "find_segments",
    "score_paths",
    "separate_paths",
    "stream_standard",
]

BASELINES = ("noisy", "gating", "wiener")

Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Enhanced:
    """What came of a call of `enhance_paths`."""

    model: str
    outcomes: list[Outcome]

    @property
    def failed(self) -> list[Outcome]:
        """The files that could not be done."""
        return [one for one in self.outcomes if one.status == "failed"]


def enhancer(name: str, device: str = "cpu") -> tuple[str, Enhancer]:
    """The enhancer called `name`, see `pretrained.load`, and what it is called.

    Raises:
        UserError: it is a model of another kind.
    """
    loaded = pretrained.load(name)
    model = loaded.model
    if not isinstance(model, Enhancer):
        raise UserError("is no model for enhancement", where=name, fix="use it with: speech separate")
    return loaded.name, model.to(resolve_device(device))


def enhance_paths(
    sources: Sequence[str],
    out: str | None = None,
    *,
    model: str = pretrained.DEFAULT,
    options: EnhanceOptions | None = None,
    ending: str | None = None,
    overwrite: bool = False,
    plot: bool = False,
    report: Path | None = None,
    threads_wanted: int | None = None,
    progress: Progress | None = None,
) -> Enhanced:
    """Enhance files, folders, patterns or lists.

    Args:
        sources: what to enhance; `-` for standard input.
        out: a file or a folder; None for beside each input.
        model: a name or a directory.
        options: channels, high band, mix, limit.
        ending: the ending of the outputs, such as `.flac`.
        overwrite: do again what is there already.
        plot: write spectrograms as PNG beside each output.
        report: an HTML page to write.
        threads_wanted: CPU threads; None for one with small models.
        progress: told the fraction done and a few words.

    Raises:
        UserError: an input does not exist, or the only file cannot be done.
    """
    todo = jobs(sources, out, ending=ending)
    name, network = enhancer(model)
    with _threads(threads_wanted, network):
        outcomes = enhance_files(
            todo, network, options or EnhanceOptions(), overwrite=overwrite, progress=progress
        )
    if len(outcomes) == 1 and outcomes[0].error is not None:
        raise outcomes[0].error
    if plot:
        for one in outcomes:
            if one.status == "done" and "-" not in (one.source, one.target):
                spectrogram.write_plot(one, Path(one.target).with_suffix(".png"))
    if report is not None:
        spectrogram.write_page([one for one in outcomes if one.source != "-"], report, name)
    return Enhanced(model=name, outcomes=outcomes)


def score_paths(
    estimates: str,
    clean: str,
    *,
    models: Sequence[str] = (),
    noisy: str | None = None,
    names: Sequence[str] | None = None,
    threads_wanted: int | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Measure files against clean ones; with `models`, run these and the baselines over noisy files first.

    Args:
        estimates: a file or folder of enhanced speech, or of noisy speech with `models`.
        clean: the clean files of the same names.
        models: names or directories.
        noisy: noisy files to be measured too.
        names: the measures; None for all that are installed.
        threads_wanted: CPU threads.
        progress: told the fraction done.

    Raises:
        UserError: a file has no partner, or a measure or model does not exist.
    """
    there = [name for name in metrics.METRICS if name != "pesq" or find_spec("pesq") is not None]
    chosen = list(names or there)
    if not models:
        places = ({"noisy": noisy} if noisy is not None else {}) | {"enhanced": estimates}
        return score_files(places, clean, chosen, progress)
    loaded = {name: enhancer(name)[1] for name in dict.fromkeys([*BASELINES, *models])}
    with _threads(threads_wanted, *loaded.values()):
        return score_models(loaded, estimates, clean, chosen, progress)


def separate_paths(
    sources: Sequence[str],
    out: str | None = None,
    *,
    model: str,
    threads_wanted: int | None = None,
    progress: Progress | None = None,
) -> list[Separated]:
    """Write one file per speaker for every mixture, see `separating`.

    Raises:
        UserError: the model is none for separation, or a file cannot be done.
    """
    loaded = pretrained.load(model)
    if not isinstance(loaded.model, Separator):
        raise UserError("is no model for separation", where=model, fix="use it with: speech enhance")
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    with threads(threads_wanted, parameters=parameters):
        return separate_files(sources, out, loaded.model, progress=progress)


def stream_standard(name: str, encoding: Encoding, *, threads_wanted: int | None = None) -> Latency:
    """Enhance standard input to standard output until it ends."""
    _, model = enhancer(name)
    with _threads(threads_wanted, model):
        return stream(model, sys.stdin.buffer, sys.stdout.buffer, encoding)


def find_segments(
    sources: Sequence[str],
    *,
    model: str = pretrained.DEFAULT,
    options: VadOptions | None = None,
    threads_wanted: int | None = None,
    progress: Progress | None = None,
) -> dict[str, list[Segment]]:
    """The segments of speech in the first channel of every file."""
    _, network = enhancer(model)
    found, segments = find_sounds(sources), {}
    with _threads(threads_wanted, network):
        for number, one in enumerate(found):
            if progress is not None:
                progress(number / len(found), one.below.name)
            samples, info = read_sound(one.path)
            x = samples[:, 0]
            x = soxr.resample(x, info.rate, network.sample_rate) if info.rate != network.sample_rate else x
            segments[one.path] = find_speech(network, x, options)
    return segments


def export_model(name: str, path: Path, *, batch_size: int = 1, format: Format = "onnx") -> Exported:
    """Write a model as one file that runs block by block, see `stepping`."""
    _, model = enhancer(name)
    return export_step(BlockEnhancer(model), path, batch_size=batch_size, format=format)


def bench_models(
    names: Sequence[str] = (), *, rounds: int = 3, progress: Progress | None = None
) -> list[Speed]:
    """The speed of models, trained or not; by default of those with weights and of two baselines."""
    models = {}
    for name in names or [*pretrained.shipped(), "gating", "wiener"]:
        model = _with_or_without_weights(name)
        if not isinstance(model, Enhancer):
            raise UserError("is no model for enhancement", where=name, fix="leave it out")
        models[name] = model.eval()
    with threads(1, parameters=0):
        return measure(models, rounds=rounds, progress=progress)


def _with_or_without_weights(name: str) -> object:
    if name not in pretrained.shipped() and not Path(name).is_dir():
        MODELS.resolve(name)
        return build(name)[1]
    return enhancer(name)[1]


@contextmanager
def _threads(wanted: int | None, *models: Enhancer) -> Iterator[int]:
    parameters = sum(parameter.numel() for model in models for parameter in model.parameters())
    with threads(wanted, parameters=parameters) as count:
        yield count
