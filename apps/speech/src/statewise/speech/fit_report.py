"""The report of a fit: what it was trained on, how it compares, and what it does to an example."""

from __future__ import annotations

import shlex

from statewise.core.report import Report, drawing, png
from statewise.speech import spectrogram
from statewise.speech.fitting import FitOutcome

__all__ = ["verdict", "write_report"]

COURSES = {
    "valid_loss": "validation loss",
    "valid_si_sdr": "validation SI-SDR, dB",
    "valid_si_sdr_gain": "validation SI-SDR gain, dB",
}


def verdict(outcome: FitOutcome) -> str:
    """Whether the model beats every baseline on the validation pairs, in words."""
    model, best = outcome.scores[-1], max(outcome.scores[:-1], key=lambda one: one.si_sdr)
    gain = model.si_sdr - best.si_sdr
    if gain > 0:
        return f"{model.method} beats every baseline: SI-SDR {gain:.1f} dB above that of {best.method}"
    return (
        f"{model.method} does not beat {best.method}: SI-SDR {model.si_sdr:.1f} dB to {best.si_sdr:.1f} dB; "
        "train longer, or on more speech"
    )


def write_report(outcome: FitOutcome) -> None:
    """Write `report.html`, and `example.png` where there is an example, into the run."""
    run, settings, result = outcome.run, outcome.settings, outcome.result
    page = Report(f"Training of {settings.model}", f"{outcome.hours * 60:.0f} minutes of clean speech")
    (
        page.paragraph
        if outcome.scores[-1].si_sdr > max(s.si_sdr for s in outcome.scores[:-1])
        else page.notice
    )(verdict(outcome))
    rows = [[one.method, one.stoi, one.si_sdr] for one in outcome.scores]
    page.table(
        ["method", "STOI", "SI-SDR, dB"],
        rows,
        caption="means over validation pairs, which chose the weights",
        strong=[len(outcome.scores) - 1],
    )
    if len(result.history) > 1:
        page.heading("Course")
        steps = [row["step"] for row in result.history]
        shown = [name for name in result.history[0] if name in COURSES]
        with drawing(columns=len(shown)) as (figure, axes):
            for place, name in zip(axes, shown, strict=True):
                place.plot(steps, [row[name] for row in result.history], marker="o", markersize=3)
                place.set_xlabel("step")
                place.set_ylabel(COURSES[name])
        page.figure(figure, caption="validation during training")
    if outcome.example is not None:
        noisy, enhanced, _ = outcome.example
        figure = spectrogram.draw(noisy, enhanced, outcome.sample_rate, "a validation pair")
        run.write_bytes("example.png", png(figure))
        page.heading("Example")
        page.figure(figure, caption="a validation pair, before and after", kind="png")
    page.heading("Settings")
    page.facts(
        {
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "stopped by": result.stopped_by,
            "loss": settings.loss,
            "seed": settings.seed,
            "clean speech": ", ".join(settings.clean),
            "noise": ", ".join(settings.noise) or "computed",
        }
    )
    verb = "enhance NOISY.wav" if outcome.scores[0].method == "noisy" else "separate MIXTURE.wav"
    page.code(f"speech {verb} --model {shlex.quote(str(run.path))}")
    run.write_text("report.html", page.render())
