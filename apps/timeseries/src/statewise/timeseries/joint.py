"""Forecasters whose network reads all series together: (B, L, V, C) to (B, V, H).

They forecast the series of their fit, and need all of them in the panel. Series may begin and end at
different times; each is forecast from its own origins, at which the others are known up to the same time.

Letters: B batch, L lookback, H horizon, V series (variates), C inputs per step, O origins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from statewise.core.errors import DataError
from statewise.core.train.device import threads
from statewise.timeseries.forecaster import Context
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.joint_windows import Aligned, JointWindows, aligned
from statewise.timeseries.network import NetworkConfig, NetworkForecaster, Span, spread, too_short
from statewise.timeseries.panel import Panel
from statewise.timeseries.task import WindowTask

__all__ = ["MOST", "JointForecaster"]

MOST = 512
"""Series that are read together, at most."""
_AT_ONCE = 2**18  # steps of input in a batch of a prediction

C = TypeVar("C", bound=NetworkConfig)


class JointForecaster(NetworkForecaster[C]):
    """A module over windows of all series as a forecasting method.

    `build` returns a module (B, L, V, 1+features) to (B, V, H), V being the number of series in
    `inputs.scales`.
    """

    joint = True

    @property
    def companions(self) -> tuple[str, ...]:
        return () if self._fitted is None else tuple(self._fitted[0].scales)

    def fit(self, panel: Panel, context: Context) -> None:
        if len(panel) > MOST:
            raise DataError(
                "these are too many series to be read together",
                seen=f"{len(panel):,} series",
                expected=f"at most {MOST}",
                fix="choose some with --target, or take a method that reads each series on its own",
            )
        super().fit(panel, context)

    def predict(self, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray]:
        inputs, model = self._get_fitted()
        forecasts = []
        for series, rows in zip(panel.series, self._said(model, panel, origins), strict=True):
            mean, scale = inputs.scales[series.id]
            forecasts.append(rows.reshape(-1, inputs.horizon) * scale + mean)
        return forecasts

    def spreads(self, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        if self._spread is None:
            return None
        shape = self._spread.shape
        return [rows.reshape(-1, *shape) for rows in self._said(self._spread, panel, origins)]

    def _said(self, module: nn.Module, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What a module says of each series from its own origins, (O, ...), in units of the network."""
        inputs, _ = self._get_fitted()
        self._require_companions(panel)
        clock = aligned(panel, list(inputs.scales))
        place = {name: v for v, name in enumerate(inputs.scales)}
        shifted = [
            at + clock.offsets[place[series.id]] for series, at in zip(panel.series, origins, strict=True)
        ]
        wanted = np.unique(np.concatenate(shifted)) if shifted else np.empty(0, dtype=int)
        every = self._at(clock, inputs, module, wanted.astype(int))
        return [
            every[np.searchsorted(wanted, at), place[series.id]]
            for series, at in zip(panel.series, shifted, strict=True)
        ]

    def _at(self, clock: Aligned, inputs: Inputs, module: nn.Module, wanted: np.ndarray) -> np.ndarray:
        """What a module says at steps of the clock, (O, V, ...) float64."""
        if not len(wanted):
            return np.zeros((0, len(clock.series), 0))
        result = []
        windows = JointWindows(clock, inputs, max(0, inputs.lookback - int(wanted[0])))
        parameters = sum(parameter.numel() for parameter in module.parameters())
        device = next(module.parameters()).device
        size = max(1, _AT_ONCE // windows.steps)
        with torch.inference_mode(), threads(self._threads, parameters=parameters):
            for begin in range(0, len(wanted), size):
                x = windows.inputs_at(wanted[begin : begin + size]).to(device)
                result.append(module(x).cpu().double().numpy())
        return np.concatenate(result)

    def _task(self, model: nn.Module, panel: Panel, inputs: Inputs, spans: Sequence[Span]) -> WindowTask:
        """Windows before the earliest `stop` train, those after it validate."""
        clock = Aligned(panel)
        lookback, horizon = inputs.lookback, inputs.horizon
        moved = [
            Span(*(offset + step for step in span)) for span, offset in zip(spans, clock.offsets, strict=True)
        ]
        used = [span for span in moved if span.end > span.first] or moved
        first, end = min(span.first for span in used), max(span.end for span in used)
        stop = min(span.stop for span in used)
        least = lookback if stop - first >= 2 * lookback + horizon else min(lookback, inputs.period)
        windows = JointWindows(clock, inputs, max(0, lookback - first - least))
        train = windows.starts(first + least, stop - horizon) if stop - horizon >= first + least else None
        validation = windows.starts(max(stop, first + least), end - horizon)
        if train is None or not len(train) or not len(validation):
            raise too_short(moved, inputs)
        return WindowTask(model, windows, train, spread(validation, windows.steps))

    def _require_companions(self, panel: Panel) -> None:
        known, given = set(self.companions), set(panel.ids)
        if known != given:
            lacking, other = sorted(known - given), sorted(given - known)
            raise DataError(
                "the series are not those that are read together",
                seen=", ".join(f"without '{name}'" for name in lacking)
                or ", ".join(f"'{name}' too" for name in other),
                expected=", ".join(f"'{name}'" for name in self.companions),
                fix="give all of them, or fit a model on these series",
            )
