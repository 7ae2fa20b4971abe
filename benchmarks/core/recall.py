"""Recall at equal parameters: associative recall of many pairs, and selective copying, layer by layer.

A finished (layer, task, seed) is kept in a ledger and the page is written again after it, so that the script
can be stopped and started.

    python -m benchmarks.core.recall [--passes N] [--keep]

`--passes` is the number of seeds per row, one after the other. With `--keep` the rows of the committed
document count as finished: a new layer costs no more than its own row.
"""

from __future__ import annotations

import argparse
import itertools
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from benchmarks.core.learning import Draw, Recipe, Tagger, parameters, train
from benchmarks.results import Column, Ledger, Result, Table, publish, versions
from statewise.core.blocks import StackConfig

NAME = "core/recall"
SEEDS = (10, 11)
"""Settings were found on the seed 0."""
TARGET = 40_000
"""Parameters of every model, as nearly as a width in steps of four allows."""
UPDATES = 700
PAIRS, KEYS, VALUES = 16, 64, 16
COPIED, ALPHABET = 6, 8
LENGTHS = {"recall": (3 * PAIRS, 6 * PAIRS), "copying": (40, 160)}
"""Steps of a sequence in training, and in the harder test."""
TASKS = tuple(LENGTHS)
ROWS = 1024
"""Test sequences per length."""

LAYERS: dict[str, dict[str, Any]] = {
    "attention": {"heads": 2, "window": 160},
    "gated-delta-net": {"heads": 2},
    "mamba2": {"d_state": 16, "expand": 1},
    "lstm": {},
    "gla": {"heads": 2},
    "s5": {"d_state": 64},
    "mamba": {},
    "rglru": {"heads": 2},
    "mamba3": {"d_state": 16, "expand": 1},
    "delta-product": {"heads": 2},
    "hgrn2": {"heads": 2},
    "lightnet": {"heads": 2},
    "min-gru": {},
    "s4d": {"d_state": 32},
    "retnet": {"heads": 2},
    "gru": {},
    "aaren": {"heads": 2},
    "gateloop": {},
    "lru": {},
    "slstm": {"heads": 2},
}

PROTOCOL = {
    "recall": f"{PAIRS} pairs of a key (of {KEYS}) and a value (of {VALUES}), one token each, then the "
    f"{PAIRS} keys in another order; the value is asked at each of them. Harder: {2 * PAIRS} pairs",
    "copying": f"{COPIED} letters (of {ALPHABET}) at random places among blanks, {COPIED} marks at the end, "
    f"where they are asked in order; {LENGTHS['copying'][0]} steps, harder {LENGTHS['copying'][1]}",
    "model": "embedding, two pre-norm blocks (layer and gated MLP of ratio 2), linear answers; the width is "
    f"that multiple of four whose number of parameters is nearest to {TARGET:,d}",
    "layers": "; ".join(
        f"{name}: {', '.join(f'{key} {value}' for key, value in settings.items())}"
        for name, settings in LAYERS.items()
        if settings
    )
    + "; all else at the defaults",
    "training": f"{UPDATES} updates on fresh batches of 768 tokens; AdamW, rate 0.005, weight decay 0.01, "
    "cosine to a tenth; recall grows from two pairs over the first half",
    "test": f"{ROWS} fresh sequences per length; the share of right answers",
    "state": "bytes that one stream of one block keeps, float32",
    "threads": "one",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--passes", type=int, default=1, help="seeds per row")
    parser.add_argument("--keep", action="store_true", help="count the committed rows as finished")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ledger = Ledger(NAME, key=("task", "layer", "seed"))
    if arguments.keep:
        ledger.keep_committed(lambda row: row["layer"] in LAYERS)
    for seed in SEEDS[: arguments.passes]:
        for layer, task in itertools.product(LAYERS, TASKS):
            if ledger.find(task=task, layer=layer, seed=seed) is None:
                ledger.add(measure(task, layer, seed))
                print(ledger.rows[-1], flush=True)
                publish(report(ledger.rows))
    publish(report(ledger.rows))


def measure(task: str, layer: str, seed: int) -> dict[str, Any]:
    """Train one model and count its right answers."""
    draw, tokens, answers = recall_task() if task == "recall" else copying_task()
    trained, harder = LENGTHS[task]
    width = width_of(layer, tokens, answers)
    torch.manual_seed(seed)
    model = Tagger(tokens, answers, stack(layer, width))
    recipe = Recipe(
        steps=UPDATES,
        length=trained,
        shortest=6 if task == "recall" else trained,
        rows=768 // trained,
        rate=0.005,
    )
    course = train(model, draw, recipe, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(1_000_000 + seed)
    return {
        "task": task,
        "layer": layer,
        "seed": seed,
        "width": width,
        "parameters": parameters(model),
        "state": bytes_of(model.stack.initial_state(1)[0]),
        "trained": correct(model, draw, trained, generator),
        "harder": correct(model, draw, harder, generator),
        "cpu_seconds": round(course.cpu_seconds, 1),
    }


def stack(layer: str, width: int) -> StackConfig:
    return StackConfig(d_model=width, mixer=layer, settings=LAYERS[layer], depth=2, mlp_ratio=2.0)


def width_of(layer: str, tokens: int, answers: int) -> int:
    """The width of the model nearest to `TARGET` parameters."""

    def distance(width: int) -> int:
        return abs(parameters(Tagger(tokens, answers, stack(layer, width))) - TARGET)

    return min(range(16, 97, 4), key=distance)


def bytes_of(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    return sum(bytes_of(part) for part in state)


def recall_task() -> tuple[Draw, int, int]:
    """Associative recall; the length gives the number of pairs, three steps each."""

    def draw(rows: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        pairs = max(2, length // 3)
        keys = torch.rand(rows, KEYS, generator=generator).argsort(1)[:, :pairs]
        values = torch.randint(VALUES, (rows, pairs), generator=generator)
        order = torch.rand(rows, pairs, generator=generator).argsort(1)
        shown = torch.stack([keys, KEYS + values], 2).flatten(1)
        asked = torch.cat([torch.full_like(shown, -1), values.gather(1, order)], 1)
        return torch.cat([shown, keys.gather(1, order)], 1), asked

    return draw, KEYS + VALUES, VALUES


def copying_task() -> tuple[Draw, int, int]:
    """Selective copying: letters among blanks, asked in order at the end."""
    blank, mark = ALPHABET, ALPHABET + 1

    def draw(rows: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        shown = length - COPIED
        places = torch.rand(rows, shown, generator=generator).argsort(1)[:, :COPIED].sort(1).values
        letters = torch.randint(ALPHABET, (rows, COPIED), generator=generator)
        tokens = torch.full((rows, shown), blank).scatter(1, places, letters)
        asked = torch.cat([torch.full((rows, shown), -1), letters], 1)
        return torch.cat([tokens, torch.full((rows, COPIED), mark)], 1), asked

    return draw, ALPHABET + 2, ALPHABET


@torch.no_grad()
def correct(model: Tagger, draw: Draw, length: int, generator: torch.Generator) -> float:
    """The share of right answers."""
    tokens, answers = draw(ROWS, length, generator)
    found = torch.cat([model(part).argmax(-1) for part in tokens.split(128)])
    return (found == answers)[answers >= 0].float().mean().item()


def report(rows: list[dict[str, Any]]) -> Result:
    lines = []
    for layer in LAYERS:
        runs = {task: [r for r in rows if (r["layer"], r["task"]) == (layer, task)] for task in TASKS}
        if all(runs.values()):
            lines.append(line(layer, runs))
    lines.sort(key=lambda row: -row["recall_trained"])
    return Result(
        benchmark=NAME,
        title="Recall: many pairs, and selective copying, at equal parameters",
        summary=summary(lines),
        versions=versions("statewise-core", "torch", "numba"),
        protocol=PROTOCOL,
        seeds=tuple(sorted({row["seed"] for row in rows})),
        rows=tuple(rows),
        tables=(Table(title="Share of right answers", columns=COLUMNS, rows=tuple(lines), note=NOTE),),
    )


def line(layer: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """One row of the table: means over the seeds."""
    means = {
        f"{task}_{key}": fmean(run[key] for run in runs[task])
        for task in TASKS
        for key in ("trained", "harder")
    }
    first = runs["recall"][0]
    return {"layer": layer, "width": first["width"], "parameters": first["parameters"]} | {
        "state": first["state"],
        **means,
        "cpu_seconds": fmean(run["cpu_seconds"] for run in runs["recall"]),
    }


def summary(lines: list[dict[str, Any]]) -> str:
    if not lines:
        return "No layer has been through both tasks yet."
    able = [row["layer"] for row in lines if row["recall_trained"] >= 0.95]
    copying = [row["layer"] for row in lines if row["copying_trained"] >= 0.95]
    return (
        f"After {UPDATES} updates at about {TARGET:,d} parameters, at least 95 % of {PAIRS} pairs are "
        f"recalled by: {', '.join(able) or 'none'}. At least 95 % of the letters are copied by: "
        f"{', '.join(copying) or 'none'}. So short a training shows what is learnt first; it is no bound on "
        "what a layer can do."
    )


COLUMNS = (
    Column(key="layer", label="layer"),
    Column(key="width", label="width"),
    Column(key="parameters", label="parameters", format=",d"),
    Column(key="state", label="state, bytes", format=",d"),
    Column(key="recall_trained", label=f"recall, {PAIRS} pairs", format=".1%"),
    Column(key="recall_harder", label=f"{2 * PAIRS} pairs", format=".1%"),
    Column(key="copying_trained", label=f"copying, {LENGTHS['copying'][0]} steps", format=".1%"),
    Column(key="copying_harder", label=f"{LENGTHS['copying'][1]} steps", format=".1%"),
    Column(key="cpu_seconds", label="CPU s, recall", format=".0f"),
)
NOTE = (
    f"Chance is {1 / VALUES:.1%} for recall and {1 / ALPHABET:.1%} for copying. Width, parameters and state "
    "are those of recall; attention keeps what it has seen, so that its state grows with its window."
)


if __name__ == "__main__":
    main()
