"""A network as a `Scorer`: histories in, scores of all items out, in batches of similar length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from statewise.recsys.events import Histories
from statewise.recsys.network.model import Network
from statewise.recsys.network.objectives import pad

__all__ = ["NetworkScorer"]

_ROWS = 128


class NetworkScorer:
    """Scores of a network; scores are float32.

    Args:
        network: the network.
        cloze: whether it finds masked items: the question is then a mask behind the history.
        name: how reports call it.
    """

    def __init__(self, network: Network, *, cloze: bool = False, name: str = "network") -> None:
        self.network, self.cloze, self.name = network, cloze, name

    @property
    def n_items(self) -> int:
        return self.network.n_items

    def scores(self, histories: Histories) -> np.ndarray:
        with torch.inference_mode():
            table = self.network.table()
            hidden = self._hidden(histories, table)
            return torch.addmm(self.network.bias, hidden, table.t()).float().cpu().numpy()

    def hidden(self, histories: Histories) -> np.ndarray:
        """What the network says after each history, (n, D)."""
        with torch.inference_mode():
            return self._hidden(histories, self.network.table()).cpu().numpy()

    def _hidden(self, histories: Histories, table: Tensor) -> Tensor:
        was_training = self.network.training
        self.network.eval()
        length = self.network.config.encoder.length
        rows = histories.last(length - 1 if self.cloze else length)
        order = np.argsort(rows.stops - rows.starts, kind="stable")
        hidden = torch.zeros(len(rows), table.shape[1], dtype=table.dtype, device=table.device)
        for low in range(0, len(order), _ROWS):
            part = order[low : low + _ROWS]
            items, lengths = pad(rows.take(part), behind=int(self.cloze))
            if self.cloze:
                items[torch.arange(len(part)), lengths - 1] = self.n_items
            some = lengths > 0  # an empty history says nothing: the bias alone speaks
            if some.any():
                said = self.network.last(items[some].to(table.device), lengths[some].to(table.device), table)
                hidden[torch.from_numpy(part)[some].to(table.device)] = said
        self.network.train(was_training)
        return hidden

    def because(self, history: np.ndarray, item: int) -> int | None:
        """The item of the last ten whose vector is the most similar."""
        recent = torch.as_tensor(np.asarray(history[-10:], dtype=np.int64))
        if not len(recent):
            return None
        with torch.inference_mode():
            table = torch.nn.functional.normalize(self.network.table(), dim=1)
            return int(recent[int((table[recent] @ table[item]).argmax())])

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def facts(self) -> Mapping[str, Any]:
        return {}
