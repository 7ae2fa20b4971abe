"""What the `speech` command does, as functions.

from statewise.speech.api import EnhanceOptions, enhance_paths

result = enhance_paths(["noisy.wav"], out="clean.wav")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from statewise.core.errors import UserError
from statewise.core.train import resolve_device, threads
from statewise.speech import pretrained, spectrogram
from statewise.speech.enhancing import Outcome, enhance_files
from statewise.speech.models.enhancer import Enhancer
from statewise.speech.pipeline import EnhanceOptions
from statewise.speech.places import jobs

__all__ = ["EnhanceOptions", "Enhanced", "enhance_paths", "enhancer"]

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
    parameters = sum(parameter.numel() for parameter in network.parameters())
    with threads(threads_wanted, parameters=parameters):
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
