"""Small models that read tokens and answer at every step: what the tables of state tracking and recall train.

Embedding, a stack of pre-norm blocks around one layer of the catalogue, and a linear map to the answers. The
batches are drawn anew at every step, so that there is no training set to remember.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from statewise.core.blocks import Stack, StackConfig
from statewise.core.train import FitConfig
from statewise.core.train.optim import AdamW
from statewise.core.train.schedule import Schedule

__all__ = ["Recipe", "Tagger", "parameters", "train"]

Draw = Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]
"""A task: rows and length to tokens (B, L) and answers (B, L), -1 where none is asked for."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained."""

    steps: int
    """Most updates."""
    length: int
    """The training length; sequences grow to it from `shortest` over the first half of the updates."""
    shortest: int = 4
    """Length of the first batches."""
    rows: int = 64
    """Sequences of the full length per batch; shorter ones are more, for the same number of tokens."""
    rate: float = 3e-3
    """Peak learning rate: linear warm-up over a twentieth of the updates, then a cosine to `floor` of it."""
    floor: float = 0.1
    decay: float = 0.01
    """Weight decay of AdamW."""
    slow_rate: float = 0.25
    """Rate of state-space parameters as a fraction of that of the others."""
    smoothing: float = 0.0
    """Label smoothing. It bounds the margins, so that what a state holds keeps being made more exact."""
    enough: float = 0.0
    """Training ends when the mean loss of the last 50 updates at full length is below this."""


@dataclass
class Course:
    """What training took."""

    updates: int = 0
    cpu_seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    """Mean loss per answer of every update at full length."""


class Tagger(nn.Module):
    """Tokens (B, L) to scores (B, L, answers).

    Args:
        tokens: size of the alphabet.
        answers: number of answers.
        config: the stack between embedding and answers.
    """

    def __init__(self, tokens: int, answers: int, config: StackConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, config.d_model)
        self.stack = Stack(config)
        self.head = nn.Linear(config.d_model, answers)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.stack(self.embedding(tokens))[0])


def parameters(model: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in model.parameters())


def train(model: Tagger, draw: Draw, recipe: Recipe, generator: torch.Generator) -> Course:
    """Train by cross entropy at every step that has an answer; the model is changed in place."""
    config = FitConfig(
        epochs=None,
        steps=recipe.steps,
        learning_rate=recipe.rate,
        warmup_steps=recipe.steps // 20,
        floor=recipe.floor,
        weight_decay=recipe.decay,
        betas=(0.9, 0.99),
        slow_rate=recipe.slow_rate,
    )
    optimiser, schedule = AdamW(model, config), Schedule(config=config, steps_per_epoch=recipe.steps)
    course, begun = Course(), time.process_time()
    model.train()
    for step in range(recipe.steps):
        length = _length(step, recipe)
        tokens, answers = draw(recipe.rows * recipe.length // length, length, generator)
        loss = F.cross_entropy(
            model(tokens).flatten(0, 1), answers.flatten(), ignore_index=-1, label_smoothing=recipe.smoothing
        )
        optimiser.clear()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step(recipe.rate * schedule.factor(step, 0.0))
        course.updates = step + 1
        if length == recipe.length:
            course.losses.append(loss.item())
        if len(course.losses) >= 50 and sum(course.losses[-50:]) / 50 < recipe.enough:
            break
    course.cpu_seconds = time.process_time() - begun
    model.eval()
    return course


def _length(step: int, recipe: Recipe) -> int:
    grown = recipe.shortest + (recipe.length - recipe.shortest) * 2 * step / recipe.steps
    return min(recipe.length, int(grown))
