"""Fit the network of a recipe with the shared loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from statewise.core.train import FitConfig, FitResult, Run, Tick, fit, seeded
from statewise.recsys.events import Histories
from statewise.recsys.network.items import FeatureBags
from statewise.recsys.network.model import Network
from statewise.recsys.network.scorer import NetworkScorer
from statewise.recsys.network.task import SequenceTask
from statewise.recsys.ranking import Repeat
from statewise.recsys.recipes import Recipe
from statewise.recsys.splits import Split

__all__ = ["train_network"]


def train_network(
    recipe: Recipe,
    split: Split,
    *,
    name: str,
    features: FeatureBags | None = None,
    repeat: Repeat = "exclude",
    run: Run | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    epochs: int | None = None,
    budget: float | None = None,
    train: Histories | None = None,
    judged: bool = True,
    progress: Callable[[float, str], None] | None = None,
) -> tuple[NetworkScorer, FitResult]:
    """The fitted network, with its best weights, and how the fit went.

    Args:
        recipe: network, objective, loss and training.
        split: training events, and the cases that choose the weights.
        name: how reports call it.
        features: of each item, for items that are more than their id.
        repeat: whether items of the history compete in validation.
        run: takes metrics, checkpoints and weights; one with a checkpoint is resumed.
        seed: of everything random.
        device: where to train.
        threads: on the CPU.
        epochs: in place of the recipe's; no early stop then.
        budget: seconds of training.
        train: training events in place of the split's.
        judged: whether the validation cases choose the weights.
        progress: told the fraction done and a few words.
    """
    with seeded(seed):
        network = Network(recipe.network, split.log.n_items, features)
    task = SequenceTask(
        network,
        split,
        recipe.objective,
        recipe.loss,
        train=train,
        repeat=repeat,
        seed=seed,
        judged=judged,
    )
    config = fit_config(
        recipe, task.size, seed=seed, device=device, threads=threads, epochs=epochs, budget=budget
    )

    def tell(tick: Tick) -> None:
        if progress is not None:
            best = "" if tick.best is None else f", best NDCG@10 {1 - tick.best:.4f}"
            progress(0.9 * tick.fraction, f"epoch {tick.epoch:.1f}, loss {tick.loss:.3f}{best}")

    result = fit(task, config, run, progress=tell)
    network.cpu()
    return NetworkScorer(network, cloze=recipe.objective.name == "cloze", name=name), result


def fit_config(
    recipe: Recipe,
    windows: int,
    *,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    epochs: int | None = None,
    budget: float | None = None,
) -> FitConfig:
    """The recipe's settings of the loop with what the user has asked for."""
    steps = -(-windows // recipe.fit.batch_size)
    chosen = recipe.fit.epochs if epochs is None else epochs
    total = None if chosen is None else chosen * steps
    warmup = recipe.fit.warmup_steps if total is None else min(recipe.fit.warmup_steps, total // 10)
    return replace(
        recipe.fit,
        epochs=chosen,
        patience=recipe.fit.patience if epochs is None else None,
        budget=budget,
        warmup_steps=warmup,
        eval_every=steps * recipe.eval_epochs,
        seed=seed,
        device=device,
        threads=threads,
    )
