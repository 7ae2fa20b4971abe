"""The weighted mean of several methods.

    f = sum_m w_m f_m,   w_m >= 0,   sum_m w_m = 1

Bates and Granger, "The Combination of Forecasts", 1969: where methods err differently, their mean errs less
than most of them. `auto` finds the weights on validation rows (`stacking`); on its own it weighs its
members equally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from statewise.core.config import config_class, from_dict, require, to_dict
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.panel import Panel

__all__ = ["Blend", "BlendConfig", "members_of"]


@dataclass(frozen=True, kw_only=True)
class BlendConfig:
    """Settings of a weighted mean."""

    weights: dict[str, float] = field(default_factory=lambda: {"nlinear": 0.5, "dlinear": 0.5})
    """Methods and what each counts, w; they are divided by their sum."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of the methods; the defaults of those that are not named."""

    def __post_init__(self) -> None:
        values = list(self.weights.values())
        legal = bool(values) and min(values) >= 0 and sum(values) > 0
        require(legal, "weights", self.weights, "methods with weights of 0 or more, not all 0")
        require("blend" not in self.weights, "weights", self.weights, "methods other than blend")


class Blend(Forecaster):
    """Several methods, fitted alike, and the weighted mean of what they say."""

    config: BlendConfig

    def __init__(self, config: BlendConfig) -> None:
        super().__init__(config)
        self.members = {name: _build(name, config.settings.get(name, {})) for name in config.weights}

    @classmethod
    def of(cls, members: Mapping[str, Forecaster], weights: Mapping[str, float]) -> Blend:
        """The blend of methods that are fitted already."""
        settings = {name: to_dict(method.config) for name, method in members.items()}
        blend = cls(BlendConfig(weights=dict(weights), settings=settings))
        blend.members = dict(members)
        return blend

    @property
    def weights(self) -> dict[str, float]:
        """By member; they add up to 1."""
        total = sum(self.config.weights.values())
        return {name: weight / total for name, weight in self.config.weights.items()}

    @property
    def description(self) -> str:
        """Its members and their weights in words, the heaviest first."""
        ranked = sorted(self.weights.items(), key=lambda one: -one[1])
        return "of " + ", ".join(f"{weight:.2f} {name}" for name, weight in ranked)

    @property
    def companions(self) -> tuple[str, ...]:
        every = [name for member in self.members.values() for name in member.companions]
        return tuple(dict.fromkeys(every))

    def minimum(self, context: Context) -> int:
        return max(member.minimum(context) for member in self.members.values())

    def memory(self) -> int | None:
        reaches = [member.memory() for member in self.members.values()]
        known = [reach for reach in reaches if reach is not None]
        return max(known) if len(known) == len(reaches) else None

    def fit(self, panel: Panel, context: Context) -> None:
        for name, member in self.members.items():
            member.fit(panel, context.part(name))

    def predict(self, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray]:
        total: list[np.ndarray] = []
        for name, member in self.members.items():
            weight = self.weights[name]
            made = [weight * one for one in member.predict(panel, origins)]
            total = [a + b for a, b in zip(total, made, strict=True)] if total else made
        return total

    def state(self) -> dict[str, np.ndarray]:
        return {
            f"{name}/{key}": array
            for name, member in self.members.items()
            for key, array in member.state().items()
        }

    def restore(self, state: dict[str, np.ndarray], context: Context) -> None:
        for name, member in self.members.items():
            prefix = f"{name}/"
            own = {key.removeprefix(prefix): a for key, a in state.items() if key.startswith(prefix)}
            member.restore(own, context)


def members_of(method: Forecaster) -> dict[str, Forecaster]:
    """The methods that a blend is of; none for any other method."""
    return method.members if isinstance(method, Blend) else {}


def _build(name: str, settings: Mapping[str, Any]) -> Forecaster:
    # the registry names this module: it is asked for what it holds when a blend is made
    from statewise.timeseries.models import MODELS

    target = MODELS.load(name)
    return target(from_dict(config_class(target), settings, where=f"settings of {name}"))
