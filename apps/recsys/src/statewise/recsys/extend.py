"""What happens to a recommender after its fit: refitted on all events, or given new items."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import torch

from statewise.core.errors import ConfigError, UserError
from statewise.core.train import Run
from statewise.recsys.contest import fit_counting
from statewise.recsys.features import read_features
from statewise.recsys.models.blend import Blend
from statewise.recsys.network.items import FeatureBags
from statewise.recsys.network.model import Network
from statewise.recsys.network.scorer import NetworkScorer
from statewise.recsys.saved import Recommender, load_recommender, save_recommender, split_of
from statewise.recsys.scorer import Scorer
from statewise.recsys.training import train_network

__all__ = ["add_items", "refit_run"]


def refit_run(
    path: str | Path,
    *,
    out: str | Path | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> tuple[Run, Recommender]:
    """Train the same recipe on all events, validation and test included, for as long as was best.

    Nothing is left to judge the result: its figures are those of the run it comes from.

    Args:
        path: the run.
        out: the new run directory; None for `runs/<name>-refit`.
        epochs: None: as many as the best validation had.
        seed: None: as in the run.
        threads: on the CPU.
        progress: told the fraction done and a few words.
    """
    one = load_recommender(path)
    log = one.log
    run = Run.create(out, default=f"{Path(path).name}-refit")
    everything = log.histories()
    if one.recipe is None:
        scorer: Scorer = fit_counting(one.model, everything, log.n_items)
    else:
        best = one.facts.get("best_epoch") or one.recipe.fit.epochs or 10
        bags = _bags(one.network.network)
        network, _ = train_network(
            one.recipe,
            split_of(one),
            name=one.model,
            features=bags,
            run=run,
            seed=one.facts["seed"] if seed is None else seed,
            threads=threads,
            epochs=epochs or max(1, round(best)),
            train=everything,
            judged=False,
            progress=progress,
        )
        scorer = network
        if isinstance(one.scorer, Blend):
            counted = [fit_counting(part.name, everything, log.n_items) for part in one.scorer.parts[1:]]
            scorer = Blend([network, *counted], one.scorer.weights)
    made = replace(one, scorer=scorer, facts=one.facts | {"trained_on": "all", "refitted_from": str(path)})
    save_recommender(run.path / "model", made)
    run.write_text("refit.json", json.dumps({"from": str(path), "events": len(log)}) + "\n")
    return run, made


def add_items(path: str | Path, table: str | Path, *, out: str | Path | None = None) -> tuple[Run, int]:
    """Add items that nobody has taken yet, described by their features.

    Their vectors come from their features; with `--items features` their own part is zero. Their bias is the
    median of the known items': neither favoured nor hidden.

    Args:
        path: the run.
        table: a row for each item, with the columns that the run was fitted with.
        out: the new run directory; None for `runs/<name>-items`.

    Returns:
        The new run, and how many items were added.

    Raises:
        UserError: the model knows items by their ids alone, or all of these items are known.
    """
    one = load_recommender(path)
    if one.network is None or one.network.network.config.items == "id" or isinstance(one.scorer, Blend):
        raise UserError(
            "knows items by their ids alone: a new one has nothing to be ranked by",
            where=str(path),
            expected="a network fitted with --items features or --items text, without --blend",
            fix="recsys fit events.csv --features items.csv --items text",
        )
    features = read_features(table)
    absent = set(one.facts["features"]) - set(features.columns)
    if absent:
        raise ConfigError(
            "lacks columns that the model was fitted with",
            where=str(table),
            seen=f"columns {', '.join(features.columns)}",
            expected=", ".join(one.facts["features"]),
            fix=f"add {', '.join(sorted(absent))}",
        )
    known = one.log.item_codes
    new = [name for name in features.words if name not in known]
    if not new:
        raise UserError("holds no new item", where=str(table), seen=f"{len(features.words):,} known items")
    items = pl.concat([one.log.items, pl.Series(one.log.items.name, new, dtype=pl.String)])
    scorer = NetworkScorer(
        _extended(one.network.network, features.bags(pl.Series(new))), cloze=one.network.cloze, name=one.model
    )
    run = Run.create(out, default=f"{Path(path).name}-items")
    save_recommender(run.path / "model", replace(one, scorer=scorer, log=replace(one.log, items=items)))
    return run, len(new)


def _bags(network: Network) -> FeatureBags | None:
    if network.config.items == "id":
        return None
    return FeatureBags(network.table.hashes, network.table.starts)  # pyright: ignore[reportArgumentType]


def _extended(network: Network, more: FeatureBags) -> Network:
    """The same network with further items behind the known ones."""
    old = _bags(network)
    assert old is not None  # the caller has features
    count = len(more.starts) - 1
    bags = FeatureBags(
        torch.cat([old.hashes, more.hashes]), torch.cat([old.starts, more.starts[1:] + len(old.hashes)])
    )
    wide = Network(network.config, network.n_items + count, bags)
    state = network.state_dict() | {"table.hashes": bags.hashes, "table.starts": bags.starts}
    state["bias"] = torch.cat([network.bias.detach(), network.bias.detach().median().repeat(count)])
    if network.table.weight is not None:
        zeros = torch.zeros(count, network.table.weight.shape[1])
        state["table.weight"] = torch.cat([network.table.weight.detach(), zeros])
    wide.load_state_dict(state)
    return wide.eval()
