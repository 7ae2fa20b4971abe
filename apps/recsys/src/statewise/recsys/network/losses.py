"""What a wrong guess costs: a table of losses over (hidden, targets) and the item table.

    ce          softmax over all items, logits in memory
    chunked-ce  the same number and gradients in tiles (see `chunked_ce`)
    sampled     softmax over the target and K sampled items, corrected for how they were drawn:
                -s_y + log(exp s_y + sum_{j != y} exp(s_j - log(K q_j))), whose sum is unbiased
    in-batch    the same, the sample being other targets of the batch, q their training frequency
    bce         -(log sigma(s_y) + sum_j log sigma(-s_j)) / (k + 1), uniform negatives
    gbce        the same with log sigma(s_y) weighted by beta = a (t (1 - 1/a) + 1/a), a = k / (V - 1)
                (Petrov and Macdonald, gSASRec, 2023); t = 0 is bce, t = 1 gives calibrated probabilities

Letters: n tokens, V items, d width, K or k negatives. Up to four negatives are drawn for each token alone,
more are shared by the batch: one matrix product instead of n gathers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from statewise.core.config import require
from statewise.core.errors import UnknownNameError
from statewise.recsys.network.chunked_ce import chunked_cross_entropy

__all__ = ["LOSSES", "Loss", "LossConfig", "Negatives", "binary_cross_entropy", "sampled_softmax"]

_OWN = 4
"""Negatives up to which each token draws its own."""


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Settings of the loss."""

    name: str = "chunked-ce"
    """One of `LOSSES`."""
    negatives: int = 256
    """K, sampled items."""
    alpha: float = 0.5
    """Items are sampled with probability ~ count^alpha; 0 is uniform. (`sampled` only.)"""
    calibration: float = 0.75
    """t of gBCE."""
    products: Literal["fp32", "bf16"] = "bf16"
    """Matrix products of `chunked-ce`; bf16 only where the processor has instructions for it."""

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise UnknownNameError("loss", self.name, LOSSES)
        require(self.products in ("fp32", "bf16"), "products", self.products, "fp32 or bf16")
        require(self.negatives >= 1, "negatives", self.negatives, "1 or more")
        require(0 <= self.alpha <= 1, "alpha", self.alpha, "from 0 to 1")
        require(0 <= self.calibration <= 1, "calibration", self.calibration, "from 0 to 1")


@dataclass(frozen=True)
class Negatives:
    """Sampled items and the logarithm of how often each was to be expected, K q."""

    items: Tensor
    """(K,) shared by all tokens, or (n, k)."""
    log_expected: Tensor
    """Of the same shape."""


class Loss:
    """The loss of a recipe.

    Args:
        config: which, and how.
        counts: training events of each item, (V,).
    """

    def __init__(self, config: LossConfig, counts: Tensor) -> None:
        self.config = config
        self.size = len(counts)
        self.frequency = counts.double().clamp(min=1) / counts.double().clamp(min=1).sum()
        weights = counts.double().clamp(min=1) ** config.alpha
        self.proposal = weights / weights.sum()
        self._cumulative = self.proposal.cumsum(0)

    def __call__(self, hidden: Tensor, targets: Tensor, table: Tensor, bias: Tensor) -> Tensor:
        """Scalar: the mean over the n tokens; draws from torch's default generator."""
        return LOSSES[self.config.name](self, hidden, targets, table, bias)

    def draw(self, device: torch.device) -> Negatives:
        """K items from the proposal, with replacement."""
        k = self.config.negatives
        items = torch.searchsorted(self._cumulative, torch.rand(k, dtype=torch.float64))
        items = items.clamp(max=self.size - 1)
        return Negatives(items.to(device), (k * self.proposal[items]).log().float().to(device))

    def from_batch(self, targets: Tensor) -> Negatives:
        """K of the targets, each as often as it occurs."""
        k = min(self.config.negatives, len(targets))
        items = targets[torch.randperm(len(targets))[:k].to(targets.device)]
        return Negatives(items, (k * self.frequency.to(items.device)[items]).log().float())

    def uniform(self, targets: Tensor) -> Tensor:
        """K items for each token, (n, k), or for all, (k,)."""
        k = self.config.negatives
        shape = (len(targets), k) if k <= _OWN else (k,)
        return torch.randint(self.size, shape).to(targets.device)


def sampled_softmax(
    hidden: Tensor, targets: Tensor, table: Tensor, bias: Tensor, negatives: Negatives
) -> Tensor:
    """Mean cross-entropy against shared negatives (K,); a negative that is the target does not count."""
    own = (hidden * table[targets]).sum(1) + bias[targets]
    others = hidden @ table[negatives.items].t() + (bias[negatives.items] - negatives.log_expected)
    others = others.masked_fill(negatives.items == targets[:, None], -torch.inf)
    return (torch.logsumexp(torch.cat([own[:, None], others], dim=1), dim=1) - own).mean()


def binary_cross_entropy(
    hidden: Tensor,
    targets: Tensor,
    table: Tensor,
    bias: Tensor,
    negatives: Tensor,
    beta: float = 1.0,
) -> Tensor:
    """Mean over tokens and the k + 1 items of each; `negatives` (k,) or (n, k)."""
    own = (hidden * table[targets]).sum(1) + bias[targets]
    if negatives.ndim == 1:
        others = hidden @ table[negatives].t() + bias[negatives]
    else:
        others = torch.einsum("nd,nkd->nk", hidden, table[negatives]) + bias[negatives]
    k = others.shape[1]
    return -(beta * F.logsigmoid(own) + F.logsigmoid(-others).sum(1)).mean() / (k + 1)


def gbce_beta(negatives: int, size: int, calibration: float) -> float:
    """Beta of gBCE."""
    a = negatives / max(1, size - 1)
    return a * (calibration * (1 - 1 / a) + 1 / a)


def _ce(loss: Loss, hidden: Tensor, targets: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    return F.cross_entropy(hidden @ table.t() + bias, targets)


def _chunked(loss: Loss, hidden: Tensor, targets: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    return chunked_cross_entropy(hidden, table, bias, targets, products=loss.config.products)


def _sampled(loss: Loss, hidden: Tensor, targets: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    return sampled_softmax(hidden, targets, table, bias, loss.draw(hidden.device))


def _in_batch(loss: Loss, hidden: Tensor, targets: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    return sampled_softmax(hidden, targets, table, bias, loss.from_batch(targets))


def _bce(loss: Loss, hidden: Tensor, targets: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    return binary_cross_entropy(hidden, targets, table, bias, loss.uniform(targets))


def _gbce(loss: Loss, hidden: Tensor, targets: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    beta = gbce_beta(loss.config.negatives, loss.size, loss.config.calibration)
    return binary_cross_entropy(hidden, targets, table, bias, loss.uniform(targets), beta)


LOSSES: dict[str, Callable[[Loss, Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "ce": _ce,
    "chunked-ce": _chunked,
    "sampled": _sampled,
    "in-batch": _in_batch,
    "bce": _bce,
    "gbce": _gbce,
}
"""Losses by name."""
