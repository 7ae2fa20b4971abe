"""Series with a label each, of any lengths and any number of variates.

Letters: S series, L length of one, V variates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["LabelledPanel"]


@dataclass(frozen=True, kw_only=True)
class LabelledPanel:
    """S series, each an example."""

    values: tuple[np.ndarray, ...]
    """(L, V) float64 each, finite."""
    labels: tuple[str, ...]
    """Of each series; all empty where the file has none."""
    names: tuple[str, ...]
    """What each series is called: an id, or the row of the file."""
    source: str = "data"
    """The file."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def variates(self) -> int:
        return self.values[0].shape[1]

    @property
    def lengths(self) -> np.ndarray:
        """(S,) int64."""
        return np.array([len(one) for one in self.values])

    @property
    def classes(self) -> list[str]:
        """The labels that occur, sorted."""
        return sorted(set(self.labels))

    def select(self, which: Sequence[int]) -> LabelledPanel:
        """Some of the series."""
        return replace(
            self,
            values=tuple(self.values[i] for i in which),
            labels=tuple(self.labels[i] for i in which),
            names=tuple(self.names[i] for i in which),
        )
