"""Events in, recommendations out, without a web server around it.

A recurrent encoder takes one step for each event and keeps a state of constant size; the others read the last
items of the user again when they are asked. Users of the fitted data start from their histories there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from statewise.core.errors import UserError
from statewise.recsys.events import Histories
from statewise.recsys.ranking import Repeat
from statewise.recsys.saved import Recommender
from statewise.recsys.serving.nearest import Nearest
from statewise.recsys.serving.store import Known, Store

__all__ = ["Engine", "pack", "unpack"]

_KEPT = 1_000
"""Items of a user that are kept: for the rule on repeats, and for encoders that read windows."""
_CACHED = 100_000
"""Users whose record is held in memory."""


class Engine:
    """A recommender that events move on.

    Args:
        one: the recommender.
        store: where events and states are kept.
        nearest: `exact`, `approximate` (needs faiss), or `auto` (see `Nearest`).
    """

    def __init__(self, one: Recommender, store: Store, *, nearest: str = "exact") -> None:
        self.one, self.store = one, store
        self.codes, self.ids = one.log.item_codes, one.log.items.to_list()
        self.network = None if one.network is None else one.network.network
        self.recurrent: Any = None
        self.nearest: Nearest | None = None
        if self.network is not None and one.scorer is one.network:
            streams = self.network.encoder.streaming and self.network.masked is None
            self.recurrent = self.network.encoder if streams else None
            with torch.inference_mode():
                table = self.network.table().float()
                self.vectors = self.network.embed(torch.arange(len(table)), table)
                bias = self.network.bias.float().numpy()
                queries = None if nearest == "exact" else _some_users(one)
                self.nearest = Nearest(table.numpy(), bias, kind=nearest, queries=queries)
        self._cache: OrderedDict[str, Known] = OrderedDict()

    @property
    def facts(self) -> str:
        """Model, sizes and the kind of search, in one line."""
        known = f"{self.one.model}, {len(self.ids):,} items, {self.store.events():,} events kept"
        if self.nearest is None or not self.nearest.approximate:
            return known
        return f"{known}; approximate search finds {self.nearest.measured:.1%} of the first ten (--nearest)"

    def event(self, user: str, item: str) -> int:
        """Take in an event and keep it; the number of the user's items that are kept.

        Raises:
            UserError: there is no such item.
        """
        known, code = self._known(user), self._code(item)
        items = np.append(known.items[-(_KEPT - 1) :], np.int32(code))
        state, said = b"", np.zeros(0, dtype=np.float32)
        if self.recurrent is not None:
            with torch.inference_mode():
                h, new = self.recurrent.step(self.vectors[code][None], self._state(known))
            state, said = pack(new), h[0].float().numpy()
        record = Known(items, state, said)
        self.store.put(user, item, record)
        self._remember(user, record)
        return len(items)

    def recommend(
        self, user: str, k: int = 10, *, repeat: Repeat | None = None, deny: Sequence[str] = ()
    ) -> list[tuple[str, float]]:
        """The k best items and their scores.

        Raises:
            UserError: a denied item is not known.
        """
        known = self._known(user)
        rule = repeat or self.one.repeat
        denied = np.array([self._code(item) for item in deny], dtype=np.int64)
        seen = np.unique(known.items).astype(np.int64)
        barred = np.concatenate([denied, seen]) if rule == "exclude" else denied
        only = seen if rule == "only" else None
        if self.nearest is None:
            scores = np.asarray(self.one.scorer.scores(Histories.of([known.items]))[0], dtype=np.float32)
            items, values = best_of(scores, k, barred, only)
        else:
            items, values = self.nearest.search(self._said(known), k, barred, only)
        return [(self.ids[item], float(value)) for item, value in zip(items, values, strict=True)]

    def _code(self, item: str) -> int:
        code = self.codes.get(item)
        if code is None:
            raise UserError(
                f"there is no item '{item[:80]}' in the catalogue", expected="an id as it is in the data"
            )
        return code

    def _known(self, user: str) -> Known:
        known = self._cache.get(user)
        if known is not None:
            self._cache.move_to_end(user)
            return known
        known = self.store.get(user) or self._fitted(user)
        self._remember(user, known)
        return known

    def _remember(self, user: str, known: Known) -> None:
        self._cache[user] = known
        self._cache.move_to_end(user)
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)

    def _fitted(self, user: str) -> Known:
        """A user of the fitted data, or a new one: the state after the history there."""
        row = self.one.log.user_codes.get(user)
        nothing = np.zeros(0, dtype=np.float32)
        if row is None:
            return Known(np.zeros(0, dtype=np.int32), b"", nothing)
        items = self.one.log.histories(np.array([row])).row(0)
        if self.recurrent is None:
            return Known(items[-_KEPT:], b"", nothing)
        with torch.inference_mode():
            # from a window as long as those of the training, where the evaluation starts too
            window = items[-self.one.network.network.config.encoder.length :]
            x = self.vectors[torch.as_tensor(window.astype(np.int64))][None]
            h, state = self.recurrent.stack(x)
        return Known(items[-_KEPT:], pack(state), h[0, -1].float().numpy())

    def _state(self, known: Known) -> Any:
        assert self.recurrent is not None
        fresh = self.recurrent.stack.initial_state(1)
        return unpack(known.state, fresh) if known.state else fresh

    def _said(self, known: Known) -> np.ndarray:
        if len(known.said):
            return known.said
        if not len(known.items) or self.one.network is None:
            width = self.nearest.width if self.nearest is not None else 0
            return np.zeros(width, dtype=np.float32)
        return self.one.network.hidden(Histories.of([known.items]))[0]


def _some_users(one: Recommender, most: int = 64) -> np.ndarray | None:
    """What the network says of fitted users that are spread over the log, (n, D); None: there are none."""
    rows = np.flatnonzero(one.log.lengths > 0)
    if not len(rows):
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
    return one.network.hidden(one.log.histories(rows))


def best_of(
    scores: np.ndarray, k: int, barred: np.ndarray, only: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of (V,) scores that may be recommended, and their scores."""
    scores = scores.copy()
    if only is not None:
        rest = np.ones(len(scores), dtype=bool)
        rest[only] = False
        scores[rest] = -np.inf
    scores[barred] = -np.inf
    k = min(k, len(scores))
    found = np.argpartition(scores, len(scores) - k)[len(scores) - k :]
    found = found[np.lexsort((found, -scores[found]))]
    found = found[np.isfinite(scores[found])]
    return found, scores[found]


def pack(state: Any) -> bytes:
    """The tensors of a state, one after the other."""
    return b"".join(leaf.contiguous().numpy().tobytes() for leaf in _leaves(state))


def unpack(data: bytes, like: Any) -> Any:
    """The state whose bytes `pack` made, in the shapes of `like`."""
    offset = 0

    def build(part: Any) -> Any:
        nonlocal offset
        if isinstance(part, Tensor):
            plain = part.numpy()
            values = np.frombuffer(data, dtype=plain.dtype, count=plain.size, offset=offset)
            offset += plain.nbytes
            return torch.from_numpy(values.reshape(plain.shape).copy())
        inner = [build(one) for one in part]
        return type(part)(*inner) if hasattr(part, "_fields") else type(part)(inner)

    return build(like)


def _leaves(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [leaf for part in state for leaf in _leaves(part)]
