"""The classifying methods: fit on labelled series, score new ones, save and restore.

`majority` and `ridge` are the rows that every network has to beat.

Letters: S series, V variates, K classes, P points that a series is resampled to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.errors import UnknownNameError
from statewise.core.train import FitConfig, fit, seeded
from statewise.core.train.device import resolve_device
from statewise.timeseries.classify.labelled import LabelledPanel
from statewise.timeseries.classify.networks import ChimeraClassifier, NetworkShape, RecurrentClassifier

__all__ = ["METHODS", "Classifier", "ClassifyConfig", "build"]

_RECURRENT = ("s5", "lru", "mamba", "gla", "gru")
METHODS = {
    "majority": "the most frequent class",
    "ridge": "a linear map of the series, resampled to one length, strength chosen by leaving one out",
    "chimera": "state space models over time and variates at once",
    **{name: f"blocks of {name} over time, variates as channels" for name in _RECURRENT},
}
"""Names and what they are."""
_POINTS = 512  # that a series is resampled to, at most
_AT_ONCE = 256  # series in a batch of a prediction


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig:
    """How a method is fitted."""

    d_model: int = 16
    """Width of a network."""
    depth: int = 2
    """Its blocks."""
    dropout: float = 0.2
    """Probability of dropping an element, in training."""
    epochs: int | None = None
    """Passes over the series; None: so many that there are 1,500 steps, at least 10."""
    batch_size: int = 16
    """Series per step."""
    learning_rate: float = 3e-3
    """Rate of AdamW at the start; it falls along a cosine."""
    weight_decay: float = 0.05
    """Decoupled weight decay."""
    noise: float = 0.1
    """Deviation of the noise added to training series, which are standardised."""

    def __post_init__(self) -> None:
        for name in ("d_model", "depth", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.epochs is None or self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        require(self.noise >= 0, "noise", self.noise, "0 or more")


class Classifier(ABC):
    """A classifying method; `classes` are the columns of its scores."""

    def __init__(self, config: ClassifyConfig) -> None:
        self.config = config
        self.classes: list[str] = []

    @abstractmethod
    def fit(
        self, panel: LabelledPanel, *, seed: int = 0, progress: Callable[[float], None] | None = None
    ) -> None:
        """Learn from labelled series."""

    @abstractmethod
    def scores(self, panel: LabelledPanel) -> np.ndarray:
        """(S, K); the largest names the class, and rows add up to one."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """What was learnt, as named arrays."""

    @abstractmethod
    def restore(self, state: dict[str, np.ndarray], classes: list[str]) -> None:
        """Become the fitted method that `state` describes."""


class Majority(Classifier):
    """The most frequent class, whatever the series."""

    def fit(
        self, panel: LabelledPanel, *, seed: int = 0, progress: Callable[[float], None] | None = None
    ) -> None:
        self.classes = panel.classes
        self.shares = np.array([panel.labels.count(name) for name in self.classes]) / len(panel)

    def scores(self, panel: LabelledPanel) -> np.ndarray:
        return np.repeat(self.shares[None], len(panel), axis=0)

    def state(self) -> dict[str, np.ndarray]:
        return {"shares": self.shares}

    def restore(self, state: dict[str, np.ndarray], classes: list[str]) -> None:
        self.classes, self.shares = classes, state["shares"]


class Ridge(Classifier):
    """Ridge regression of ±1 per class on the values, standardised, its strength by leave-one-out error."""

    STRENGTHS = tuple(float(s) for s in 10.0 ** np.arange(-3, 4))

    def fit(
        self, panel: LabelledPanel, *, seed: int = 0, progress: Callable[[float], None] | None = None
    ) -> None:
        self.classes = panel.classes
        self.points = min(int(np.median(panel.lengths)), _POINTS)
        x = _resampled(panel, self.points)
        self.mean, scale = x.mean(axis=0), x.std(axis=0)
        self.scale = np.where(scale > 0, scale, 1.0)
        z = (x - self.mean) / self.scale
        truth = np.array(panel.labels)[:, None] == np.array(self.classes)
        y = np.where(truth, 1.0, -1.0)
        self.bias = y.mean(axis=0)
        left, singular, right = np.linalg.svd(z, full_matrices=False)
        projected = left.T @ (y - self.bias)
        best = np.inf
        for strength in self.STRENGTHS:
            penalty = strength * len(z)
            shrink = singular**2 / (singular**2 + penalty)
            fitted = left @ (shrink[:, None] * projected)
            leverage = (left**2 @ shrink) + 1 / len(z)
            errors = (y - self.bias - fitted) / np.maximum(1 - leverage, 1e-9)[:, None]
            error = float((errors**2).mean())
            if error < best:
                best = error
                self.weights = right.T @ ((singular / (singular**2 + penalty))[:, None] * projected)

    def scores(self, panel: LabelledPanel) -> np.ndarray:
        y = (_resampled(panel, self.points) - self.mean) / self.scale @ self.weights + self.bias
        return _softmax(2 * y)

    def state(self) -> dict[str, np.ndarray]:
        arrays = {name: getattr(self, name) for name in ("mean", "scale", "bias", "weights")}
        return arrays | {"points": np.array(self.points)}

    def restore(self, state: dict[str, np.ndarray], classes: list[str]) -> None:
        self.classes, self.points = classes, int(state["points"])
        self.mean, self.scale = state["mean"], state["scale"]
        self.bias, self.weights = state["bias"], state["weights"]


class Network(Classifier):
    """A network on series that are standardised by the training set.

    Args:
        config: sizes and the fit.
        name: chimera, or a layer that streams.
    """

    def __init__(self, config: ClassifyConfig, name: str) -> None:
        super().__init__(config)
        self.name = name

    def fit(
        self, panel: LabelledPanel, *, seed: int = 0, progress: Callable[[float], None] | None = None
    ) -> None:
        self.classes = panel.classes
        steps = np.concatenate(panel.values)
        scale = steps.std(axis=0)
        self.units = np.stack([steps.mean(axis=0), np.where(scale > 0, scale, 1.0)])
        with seeded(seed):
            self.model = self._build(panel.variates)
        config = self.config
        per_epoch = -(-len(panel) // config.batch_size)
        task = _ClassTask(self.model, *self._tensors(panel), self._targets(panel), config.noise)
        fit(
            task,
            FitConfig(
                epochs=config.epochs or max(10, -(-1500 // per_epoch)),
                batch_size=config.batch_size,
                learning_rate=config.learning_rate,
                weight_decay=config.weight_decay,
                seed=seed,
                device="cpu",
                threads=1,
            ),
            None,
            progress=None if progress is None else lambda tick: progress(tick.fraction),
        )

    def scores(self, panel: LabelledPanel) -> np.ndarray:
        x, lengths = self._tensors(panel)
        self.model.eval()
        with torch.inference_mode():
            parts = zip(x.split(_AT_ONCE), lengths.split(_AT_ONCE), strict=True)
            logits = torch.cat([self.model(one[:, : int(n.max())], n) for one, n in parts])
        return torch.softmax(logits.double(), dim=1).numpy()

    def state(self) -> dict[str, np.ndarray]:
        weights = {f"weights.{name}": t.cpu().numpy() for name, t in self.model.state_dict().items()}
        return weights | {"units": self.units}

    def restore(self, state: dict[str, np.ndarray], classes: list[str]) -> None:
        self.classes, self.units = classes, state["units"]
        self.model = self._build(self.units.shape[1])
        known = self.model.state_dict()
        self.model.load_state_dict({name: torch.tensor(state[f"weights.{name}"]) for name in known})
        self.model.to(resolve_device("cpu")).eval()

    def _build(self, variates: int) -> nn.Module:
        config = self.config
        shape = NetworkShape(
            variates=variates,
            classes=len(self.classes),
            d_model=config.d_model,
            depth=config.depth,
            dropout=config.dropout,
        )
        return ChimeraClassifier(shape) if self.name == "chimera" else RecurrentClassifier(shape, self.name)

    def _tensors(self, panel: LabelledPanel) -> tuple[Tensor, Tensor]:
        """Standardised series, padded at their ends, (S, L, V) float32, and lengths (S,)."""
        lengths = panel.lengths
        x = np.zeros((len(panel), int(lengths.max()), panel.variates), dtype=np.float32)
        for row, values in zip(x, panel.values, strict=True):
            row[: len(values)] = (values - self.units[0]) / self.units[1]
        return torch.from_numpy(x), torch.from_numpy(lengths)

    def _targets(self, panel: LabelledPanel) -> Tensor:
        place = {name: k for k, name in enumerate(self.classes)}
        return torch.tensor([place[label] for label in panel.labels])


class _ClassTask:
    """Cross-entropy over series; the last weights are taken, since there is nothing to choose them by."""

    monitor = "train_loss"

    def __init__(self, model: nn.Module, x: Tensor, lengths: Tensor, y: Tensor, noise: float) -> None:
        self.model, self.x, self.lengths, self.y, self.noise = model, x, lengths, y, noise

    @property
    def size(self) -> int:
        return len(self.y)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lengths = self.lengths[indices]
        return self.x[indices, : int(lengths.max())], lengths, self.y[indices]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        x, lengths, y = batch
        return F.cross_entropy(model(x + self.noise * torch.randn_like(x), lengths), y)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return {}


def build(name: str, config: ClassifyConfig) -> Classifier:
    """The method called `name`.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in METHODS:
        raise UnknownNameError("classifying method", name, METHODS)
    if name == "majority":
        return Majority(config)
    return Ridge(config) if name == "ridge" else Network(config, name)


def _resampled(panel: LabelledPanel, points: int) -> np.ndarray:
    """Every series at `points` evenly spaced places, (S, P V)."""
    rows = []
    for values in panel.values:
        at = np.linspace(0, len(values) - 1, points)
        columns = [np.interp(at, np.arange(len(values)), column) for column in values.T]
        rows.append(np.concatenate(columns))
    return np.stack(rows)


def _softmax(y: np.ndarray) -> np.ndarray:
    e = np.exp(y - y.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
