"""Fit a model on folders of speech and noise, and judge it on voices and noises that it has not heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from statewise.core.errors import ConfigError, DataError
from statewise.core.train import FitResult, Run, Tick, fit, seeded, threads
from statewise.core.train.settings import keep_settings, kept_settings, require_same_data
from statewise.speech import metrics, pretrained
from statewise.speech.corpus import Clip, Corpus, read_corpus
from statewise.speech.mixing import Mixer
from statewise.speech.models import MODELS, build
from statewise.speech.models.enhancer import Enhancer, Trained, enhance
from statewise.speech.models.separator import Separator
from statewise.speech.separation import SeparationTask
from statewise.speech.settings import EPOCH, FitSettings
from statewise.speech.task import EnhancementTask, Pair
from statewise.speech.validation import babble, held_out, mixtures, paired

__all__ = ["BASELINES", "FitOutcome", "Score", "fit_run", "make_up", "resume_run", "scoreboard"]

BASELINES = ("noisy", "gating", "wiener")
SNRS = (0.0, 5.0, 10.0)
"""Signal-to-noise ratios of validation mixtures, in dB."""
VALIDATED = 48
"""Validation mixtures at most."""
SEPARATED = 4.0
"""Seconds of a validation mixture of speakers."""
LOUDEST = 10.0
"""The largest factor that makes up for a low level; a model that would need more has not learnt anything."""
LONGEST = 8.0
"""Seconds of a validation mixture at most."""

Say = Callable[[str], None]
Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Score:
    """The mean measures of a method on the validation pairs."""

    method: str
    stoi: float | None
    si_sdr: float


@dataclass(frozen=True, kw_only=True)
class FitOutcome:
    """What came of a fit."""

    run: Run
    settings: FitSettings
    result: FitResult
    scores: list[Score]
    """Baselines first, the model last."""
    example: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    """Noisy, enhanced and clean signal of a validation pair."""
    sample_rate: int
    hours: float
    """Hours of clean speech."""
    seconds: float


def fit_run(
    settings: FitSettings,
    *,
    out: str | Path | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
) -> FitOutcome:
    """Read, fit, judge, and write a run directory with the model in it.

    Raises:
        UserError: the folders cannot be used, or the settings do not fit them.
    """
    MODELS.resolve(settings.model)  # a wrong name is told before an hour of sound is read
    model = new_model(settings)
    data = _Data(settings, model.sample_rate, say, progress)
    run = Run.create(out, default=settings.name)
    if run.notice and say is not None:
        say(run.notice)
    keep_settings(run, settings, fingerprint=data.corpus.fingerprint)
    return _fit(settings, model, data, run, progress)


def resume_run(
    path: str | Path,
    *,
    budget: float | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
) -> FitOutcome:
    """Finish a fit that was cut off, or go on with one that has ended: same settings, same data.

    Args:
        path: the run directory.
        budget: a new time limit for the whole run, in seconds; None for the one that it had.
        say: told what is read.
        progress: told the fraction done.

    Raises:
        CheckpointError: there is no such run, or the data are not those it began with.
    """
    run = Run.open(path)
    settings, fingerprint = kept_settings(run, FitSettings)
    if budget is not None:
        settings = replace(settings, budget=budget)
    model = new_model(settings)
    data = _Data(settings, model.sample_rate, say, progress)
    require_same_data(run, fingerprint, data.corpus.fingerprint, settings.clean)
    return _fit(settings, model, data, run, progress)


def scoreboard(
    models: Sequence[tuple[str, Enhancer]],
    pairs: Sequence[Pair],
    rate: int,
    device: torch.device | None = None,
) -> list[Score]:
    """Mean STOI and SI-SDR of every model on the same pairs."""
    rows = []
    for name, model in models:
        values = [
            metrics.evaluate(_enhanced(model, pair.noisy), pair.clean, rate, ("stoi", "si_sdr"))
            for pair in pairs
        ]
        known = {key: [v for one in values if (v := one[key]) is not None] for key in ("stoi", "si_sdr")}
        stoi = float(np.mean(known["stoi"])) if known["stoi"] else None
        ratio = float(np.mean(known["si_sdr"])) if known["si_sdr"] else float("nan")
        rows.append(Score(method=name, stoi=stoi, si_sdr=ratio))
    return rows


def new_model(settings: FitSettings) -> Enhancer | Separator:
    """The model that the settings name, with weights drawn from their seed or taken from `start`.

    Raises:
        ConfigError: `start` is another model.
    """
    with seeded(settings.seed):
        model = build(settings.model)[1]
    assert isinstance(model, Enhancer | Separator)  # the registry holds nothing else
    if settings.start is not None:
        begun = pretrained.load(settings.start).model
        held = getattr(begun, "config", None)
        if held != model.config:
            raise ConfigError(
                "is not the model that is to be trained",
                where=f"start, {settings.start}",
                seen=f"{type(begun).__name__}, {held}",
                expected=f"{type(model).__name__}, {model.config}",
                fix="name the model it is with --model",
            )
        model.load_state_dict(begun.state_dict())
    return model


class _Data:
    """The corpus to train on and the pairs that choose."""

    def __init__(self, settings: FitSettings, rate: int, say: Say | None, progress: Progress | None) -> None:
        corpus = read_corpus(
            settings.clean, settings.noise, settings.rooms, sample_rate=rate, progress=progress
        )
        if say is not None:
            _tell(corpus, say)
        voices: Sequence[Clip] = ()
        backgrounds: Sequence[Clip] = ()
        if settings.valid_clean:
            other = read_corpus(settings.valid_clean, settings.valid_noise, sample_rate=rate)
            voices, backgrounds = other.clean, other.noise
        elif settings.pairs is None:
            corpus, voices, backgrounds = held_out(corpus, settings.held_out)
            if say is not None:
                groups = sorted({clip.group for clip in voices})
                say(f"held out to choose the weights: {len(groups)} speakers, {len(voices)} recordings")
        self.corpus, self.rate = corpus, rate
        self.voices = list(voices)
        step = max(1, -(-len(voices) // VALIDATED))
        if len({clip.group for clip in voices}) > 1:
            backgrounds = [*backgrounds, babble(voices, sample_rate=rate)]
        short = [_shortened(clip, rate) for clip in voices[::step]]
        self.pairs = mixtures(short, backgrounds, SNRS, sample_rate=rate)
        if settings.pairs is not None:
            self.pairs += paired(*settings.pairs, sample_rate=rate)

    def sources(self, settings: FitSettings, model: Separator) -> list[np.ndarray]:
        """Validation mixtures of the speakers that do not train, as their sources (S, N)."""
        other = replace(self.corpus, clean=tuple(self.voices), noise=())
        speakers, rng = model.speakers, np.random.default_rng(settings.seed)
        if len({clip.group for clip in other.clean}) < speakers:
            raise DataError(
                "too few speakers are held out to make mixtures of them",
                where=", ".join(settings.valid_clean or settings.clean),
                seen=f"{len({clip.group for clip in other.clean})} held out",
                expected=f"at least {speakers}",
                fix="name more with --valid-clean, or give recordings of more speakers",
            )
        mixer = Mixer(other, replace(settings.mixing, seconds=SEPARATED))
        return [mixer.pair(rng, speakers) for _ in range(VALIDATED)]


def _fit(
    settings: FitSettings, model: Enhancer | Separator, data: _Data, run: Run, progress: Progress | None
) -> FitOutcome:
    begun = time.monotonic()
    mixer = Mixer(data.corpus, settings.mixing)
    if isinstance(model, Enhancer):
        task = EnhancementTask(model, mixer, data.pairs, EPOCH, settings.loss)
    else:
        task = SeparationTask(model, mixer, data.sources(settings, model), EPOCH)
    result = fit(task, settings.loop(model.learning_rate), run, progress=_ticks(progress))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    model.to("cpu")
    with threads(settings.threads, parameters=parameters):
        if isinstance(model, Trained):
            make_up(model, data.pairs)
        if isinstance(task, SeparationTask):
            scores = _separation_scores(settings.model, task)
        else:
            compared = [(name, _baseline(name)) for name in BASELINES]
            scores = scoreboard([*compared, (settings.model, cast(Enhancer, model))], data.pairs, data.rate)
    name, _ = MODELS.resolve(settings.model)
    metadata = {
        "model": settings.model,
        "hours_of_speech": round(data.corpus.hours, 2),
        **_effort(settings, result),
        "fingerprint": data.corpus.fingerprint,
        "scores": [{"method": one.method, "stoi": one.stoi, "si_sdr": one.si_sdr} for one in scores],
    }
    pretrained.save(run.path / "model", name, model, metadata)
    example = None
    if isinstance(model, Enhancer) and data.pairs:
        pair = data.pairs[0]
        example = (pair.noisy, _enhanced(model, pair.noisy), pair.clean)
    return FitOutcome(
        run=run,
        settings=settings,
        result=result,
        scores=scores,
        example=example,
        sample_rate=data.rate,
        hours=data.corpus.hours,
        seconds=time.monotonic() - begun,
    )


def _effort(settings: FitSettings, result: FitResult) -> dict[str, float]:
    """Steps and seconds of training in all, with those of the weights it started from."""
    before = {} if settings.start is None else pretrained.load(settings.start).metadata
    return {
        "steps": result.steps + before.get("steps", 0),
        "seconds_of_training": round(result.seconds + before.get("seconds_of_training", 0)),
    }


def _tell(corpus: Corpus, say: Say) -> None:
    speakers, kinds = (len({clip.group for clip in part}) for part in (corpus.clean, corpus.noise))
    hours = sum(len(clip.samples) for clip in corpus.noise) / corpus.sample_rate / 3600
    noise = f"{hours * 60:.1f} min of {kinds} kinds of noise" if corpus.noise else "computed noise only"
    rooms = f", {len(corpus.responses)} rooms" if corpus.responses else ""
    say(f"{corpus.hours * 60:.1f} min of speech by {speakers} speakers, {noise}{rooms}")
    for line in corpus.left_out[:5]:
        say(f"left out: {line}")
    if len(corpus.left_out) > 5:
        say(f"and {len(corpus.left_out) - 5} more left out")


def _shortened(clip: Clip, rate: int) -> Clip:
    return replace(clip, samples=clip.samples[: round(LONGEST * rate)])


@torch.inference_mode()
def make_up(model: Trained, pairs: Sequence[Pair]) -> None:
    """Make the speech in the output as loud as the clean one: the factor is sum <s, s> / sum <y, s>."""
    model.makeup.fill_(1.0)
    products = np.array([[_enhanced(model, p.noisy) @ p.clean, p.clean @ p.clean] for p in pairs])
    share = float(np.divide(*products.sum(axis=0)))
    if share > 1 / LOUDEST:
        model.makeup.fill_(1 / share)


def _separation_scores(name: str, task: SeparationTask) -> list[Score]:
    """Mean SI-SDR of the speakers in the mixture as it is, and of what comes out."""
    values = task.validate(task.model)
    output = -values["valid_loss"]
    mixture = Score(method="mixture", stoi=None, si_sdr=output - values["valid_si_sdr_gain"])
    return [mixture, Score(method=name, stoi=None, si_sdr=output)]


def _baseline(name: str) -> Enhancer:
    _, model = build(name)
    assert isinstance(model, Enhancer)
    return model.eval()


@torch.inference_mode()
def _enhanced(model: Enhancer, noisy: np.ndarray) -> np.ndarray:
    return enhance(model, torch.from_numpy(noisy)[None])[0].numpy()


def _ticks(progress: Progress | None) -> Callable[[Tick], None] | None:
    if progress is None:
        return None

    def tell(tick: Tick) -> None:
        best = "" if tick.best is None else f", best validation loss {tick.best:.3f}"
        progress(tick.fraction, f"step {tick.step}{best}")

    return tell
