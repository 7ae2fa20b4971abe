"""Forecasters that train a network on windows of all series at once.

`NetworkForecaster` turns any module (B, L, C) -> (B, H) into a forecasting method: it chooses the lookback,
splits off the last rows for validation, trains with the shared loop (checkpoints, deadline, best weights) and
predicts in batches. A method is a subclass that builds the module, with a configuration derived from
`NetworkConfig`.

Letters: B batch, L lookback, H horizon, P period, C inputs per step, O origins, n steps of a series.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from statewise.core.config import require
from statewise.core.errors import DataError
from statewise.core.train.config import FitConfig
from statewise.core.train.device import resolve_device, seeded, threads
from statewise.core.train.loop import fit
from statewise.core.train.result import FitResult, Tick
from statewise.timeseries.forecaster import Context, Forecaster
from statewise.timeseries.history import first_observed, windows
from statewise.timeseries.inputs import Inputs
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.quantiles import QuantileTask, SpreadHead, spread_head
from statewise.timeseries.row_windows import RowWindows, reach, row_blocks
from statewise.timeseries.task import WindowTask
from statewise.timeseries.windows import Block, Windows

__all__ = ["NetworkConfig", "NetworkForecaster", "Span", "spread", "too_short"]

_SEASONS = 7  # of lookback where nothing else is asked for: a week of hours, as in the papers
_LONGEST = 512  # steps of lookback chosen, unless two seasons are longer
_SMALLEST_BATCH, _LARGEST_BATCH, _LARGEST_BATCH_STEPS = 32, 512, 2**17
_EPOCHS, _LEAST_STEPS = 25, 2000  # of a fit that is given neither
_STEPS = 300  # of the optimiser in an epoch, which larger batches must leave
_EVALUATE = 50, 500  # least and most steps between evaluations: a short budget should see some
_VALIDATION_WINDOWS, _VALIDATION_STEPS = 8192, 2**21  # at most, evenly spread: an epoch should take longer
_AT_ONCE = 2**18  # steps of input in a batch of a prediction


_SPREAD, _LEVELS = "spread.", "quantiles"  # of the state of a fit that has learnt bounds


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """How a network is fitted to windows."""

    lookback: int | None = None
    """Steps it sees, L; None: seven seasons, less where the series are short."""
    validation: float = 0.2
    """Share of each series, at its end, that chooses the best weights; at least one horizon."""
    epochs: int | None = None
    """Passes over the training windows; None: 25, more where that is less than 2000 steps."""
    patience: int = 8
    """Evaluations without a better validation error before the fit stops: about one per epoch."""
    batch_size: int | None = None
    """Windows per step; None: 32, and up to 512 where there are many."""
    learning_rate: float = 1e-3
    """Rate of Adam at the start; it falls along a cosine."""
    calendar: bool = True
    """Give the calendar; where the fit sees hardly one year, the day of the year may say too much."""
    save_every: float = 5.0
    """Least number of seconds between two checkpoints."""

    def __post_init__(self) -> None:
        require(self.lookback is None or self.lookback >= 1, "lookback", self.lookback, "at least 1 step")
        require(0 < self.validation < 1, "validation", self.validation, "between 0 and 1")
        require(self.batch_size is None or self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.epochs is None or self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(self.patience >= 1, "patience", self.patience, "at least 1")


C = TypeVar("C", bound=NetworkConfig)


class NetworkForecaster(Forecaster, Generic[C]):
    """A window module as a forecasting method.

    A series that the fit has not seen is scaled by each window itself.

    Args:
        config: settings of the method and of its fit.
    """

    config: C
    timed: ClassVar[bool] = False
    """Whether `build` knows a module for rows at irregular times: (B, L+1, 4+features) to (B, H), see
    `row_windows`."""

    def __init__(self, config: C) -> None:
        super().__init__(config)
        self._fitted: tuple[Inputs, nn.Module] | None = None
        self._spread: SpreadHead | None = None
        self._levels: tuple[float, ...] = ()
        self._threads: int | None = None
        self.result: FitResult | None = None
        """What the last fit came to; None before it and after `restore`."""

    @abstractmethod
    def build(self, inputs: Inputs) -> nn.Module:
        """The module, freshly initialised: (B, L, 1 + features) to (B, H)."""

    def warm_start(self, model: nn.Module, panel: Panel, inputs: Inputs, stops: Sequence[int]) -> None:
        """Set weights that need no training, from the first `stops[s]` steps of each series."""

    def minimum(self, context: Context) -> int:
        """Two horizons, one to train and one to validate on, and two seasons to look back on."""
        return 2 * (context.horizon + context.period)

    def memory(self) -> int | None:
        inputs, _ = self._get_fitted()
        return inputs.lookback if inputs.gap is None else reach(inputs)

    def fit(self, panel: Panel, context: Context) -> None:
        spans = [_span(series, context.horizon, self.config.validation) for series in panel.series]
        lookback = self.config.lookback or _lookback(spans, context)
        stops = [span.stop for span in spans]
        inputs = Inputs.fit(panel, stops, context, lookback, calendar=self.config.calendar, timed=self.timed)
        with seeded(context.seed):
            model = self.build(inputs)
        self.warm_start(model, panel, inputs, stops)
        task = self._task(model, panel, inputs, spans)
        self._levels, self._spread = context.quantiles, None
        if context.quantiles:
            with seeded(context.seed):
                self._spread = spread_head(inputs, context.quantiles)
            task = QuantileTask(task, self._spread, context.quantiles)
        # set already: an interrupted fit leaves the best weights so far
        self._fitted, self._threads = (inputs, model), context.threads
        self.result = fit(
            task,
            self._fit_config(task.size, task.windows.steps, context),
            context.run,
            progress=_progress(context),
            deadline=context.deadline,
        )

    def predict(self, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray]:
        inputs, model = self._get_fitted()
        forecasts = [np.zeros((len(at), inputs.horizon)) for at in origins]
        for block, part in self._outputs(model, panel, origins):
            forecasts[block.series][block.rows] = part * block.scale + block.mean
        return forecasts

    def spreads(self, panel: Panel, origins: Sequence[np.ndarray]) -> list[np.ndarray] | None:
        if self._spread is None:
            return None
        spreads = [np.zeros((len(at), *self._spread.shape)) for at in origins]
        for block, part in self._outputs(self._spread, panel, origins):
            spreads[block.series][block.rows] = part
        return spreads

    def _outputs(
        self, module: nn.Module, panel: Panel, origins: Sequence[np.ndarray]
    ) -> Iterator[tuple[Block, np.ndarray]]:
        """What a module says of the windows before all origins, (O, ...) for each block of them."""
        inputs, _ = self._get_fitted()
        parameters = sum(parameter.numel() for parameter in module.parameters())
        with torch.inference_mode(), threads(self._threads, parameters=parameters):
            for blocks in _packed(self._blocks(panel, inputs, origins)):
                y = _forward(module, np.concatenate([block.x for block in blocks]))
                ends = np.cumsum([len(block.x) for block in blocks])
                yield from zip(blocks, np.split(y, ends[:-1]), strict=True)

    def state(self) -> dict[str, np.ndarray]:
        inputs, model = self._get_fitted()
        weights = {f"weights.{name}": tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
        if self._spread is not None:
            own = self._spread.state_dict().items()
            weights |= {f"{_SPREAD}{name}": tensor.cpu().numpy() for name, tensor in own}
            weights[_LEVELS] = np.array(self._levels)
        return weights | inputs.state()

    def restore(self, state: dict[str, np.ndarray], context: Context) -> None:
        inputs = Inputs.restore(state, context.frequency)
        with seeded(context.seed):
            model = self.build(inputs)
        model.load_state_dict({name: torch.tensor(state[f"weights.{name}"]) for name in model.state_dict()})
        model.to(resolve_device(context.device)).eval()
        self._spread, self._levels = None, tuple(state.get(_LEVELS, np.zeros(0)).tolist())
        if self._levels:
            head = spread_head(inputs, self._levels)
            head.load_state_dict(
                {name: torch.tensor(state[f"{_SPREAD}{name}"]) for name in head.state_dict()}
            )
            self._spread = head.to(resolve_device(context.device)).eval()
        self._fitted, self._threads, self.result = (inputs, model), context.threads, None

    @property
    def fitted(self) -> tuple[Inputs, nn.Module]:
        """What it sees of a series, and the network; only after `fit` or `restore`."""
        return self._get_fitted()

    def _get_fitted(self) -> tuple[Inputs, nn.Module]:
        if self._fitted is None:
            raise RuntimeError(f"{type(self).__name__}: fit or restore comes first")
        return self._fitted

    def _task(self, model: nn.Module, panel: Panel, inputs: Inputs, spans: Sequence[Span]) -> WindowTask:
        if inputs.gap is None:
            return _task(model, panel, inputs, spans)
        return _row_task(model, panel, inputs, spans)

    def _blocks(self, panel: Panel, inputs: Inputs, origins: Sequence[np.ndarray]) -> Iterator[Block]:
        if inputs.gap is None:
            return _blocks(panel, inputs, origins)
        return row_blocks(panel, inputs, origins, max(1, _AT_ONCE // inputs.lookback))

    def _fit_config(self, size: int, span: int, context: Context) -> FitConfig:
        """Adam with a falling rate, stopped by validation; a window holds `span` steps."""
        config = self.config
        batch_size = config.batch_size or _batch_size(size, span)
        steps = -(-size // batch_size)  # per epoch
        return FitConfig(
            epochs=context.epochs or config.epochs or max(_EPOCHS, -(-_LEAST_STEPS // steps)),
            batch_size=batch_size,
            learning_rate=config.learning_rate,
            schedule="cosine",
            clip=None,
            patience=config.patience,
            eval_every=min(max(steps, _EVALUATE[0]), _EVALUATE[1]),
            save_every=config.save_every,
            seed=context.seed,
            device=context.device,
            threads=context.threads,
        )


class Span(NamedTuple):
    """The steps of a series that a fit uses."""

    first: int
    """The first observed step."""
    stop: int
    """Where training targets end and validation targets begin."""
    end: int
    """One after the last observed step."""


def _span(series: Series, horizon: int, validation: float) -> Span:
    observed = np.flatnonzero(np.isfinite(series.values))
    if not len(observed):
        return Span(0, 0, 0)
    first, end = int(observed[0]), int(observed[-1]) + 1
    held_out = max(horizon, int(validation * (end - first)))
    return Span(first, max(first, end - held_out), end)


def _lookback(spans: Sequence[Span], context: Context) -> int:
    """Whole seasons: seven, at most `_LONGEST` steps, and at most half of what the median series has."""
    season = context.period if context.period > 1 else context.horizon
    rows = int(np.median([span.stop - span.first for span in spans]))
    seasons = min(_SEASONS, max(2, _LONGEST // season), (rows - context.horizon) // (2 * season))
    return season * max(1, seasons)


def _task(model: nn.Module, panel: Panel, inputs: Inputs, spans: Sequence[Span]) -> WindowTask:
    """Windows before `stop` train, those after it validate.

    Where a series is shorter than two lookbacks, windows may reach before its beginning, as far as they still
    hold a season of it.
    """
    lookback, horizon = inputs.lookback, inputs.horizon
    least = [
        lookback if stop - first >= 2 * lookback + horizon else min(lookback, inputs.period)
        for first, stop, _ in spans
    ]
    pads = [max(0, lookback - span.first - n) for span, n in zip(spans, least, strict=True)]
    windows = Windows(panel, inputs, pads)
    train = [windows.starts(s, span.first + least[s], span.stop - horizon) for s, span in enumerate(spans)]
    held_out = [
        windows.starts(s, max(span.stop, span.first + least[s]), span.end - horizon)
        for s, span in enumerate(spans)
    ]
    starts, validation = torch.cat(train), torch.cat(held_out)
    if not len(starts) or not len(validation):
        raise too_short(spans, inputs)
    return WindowTask(model, windows, starts, spread(validation, lookback))


def _row_task(model: nn.Module, panel: Panel, inputs: Inputs, spans: Sequence[Span]) -> WindowTask:
    """The same for windows of rows at irregular times; where there are few rows, windows are not full."""
    windows, horizon = RowWindows(panel, inputs), inputs.horizon
    train, held_out = [], []
    for s, span in enumerate(spans):
        full = (
            windows.rows_before(s, span.stop - horizon) >= inputs.lookback if span.stop > horizon else False
        )
        least = inputs.lookback if full else min(inputs.lookback, inputs.period)
        train.append(windows.starts(s, span.first, span.stop - horizon, least))
        held_out.append(windows.starts(s, max(span.stop, span.first), span.end - horizon, least))
    starts, validation = torch.cat(train), torch.cat(held_out)
    if not len(starts) or not len(validation):
        raise too_short(spans, inputs)
    return WindowTask(model, windows, starts, spread(validation, windows.steps))


def spread(validation: Tensor, span: int) -> Tensor:
    """Of the validation windows, of `span` steps each, as many as there is time for, evenly spread."""
    most = min(len(validation), _VALIDATION_WINDOWS, max(_SMALLEST_BATCH, _VALIDATION_STEPS // span))
    return validation[torch.linspace(0, len(validation) - 1, most, dtype=torch.float64).long()]


def too_short(spans: Sequence[Span], inputs: Inputs) -> DataError:
    """What to say when there is no window to train or to validate on."""
    longest = max(span.end - span.first for span in spans)
    return DataError(
        "no series is long enough to train a network on",
        seen=f"at most {longest} steps with observations",
        expected=f"{2 * (inputs.horizon + inputs.period)} steps for {inputs.horizon} steps ahead",
        fix="shorten --horizon, or take a method for short series such as ets",
    )


def _batch_size(windows: int, span: int) -> int:
    """A power of two that leaves an epoch `_STEPS` steps, given the windows for it, and fits in memory."""
    largest = min(_LARGEST_BATCH, _LARGEST_BATCH_STEPS // span)
    size = _SMALLEST_BATCH
    while 2 * size <= largest and windows >= 2 * size * _STEPS:
        size *= 2
    return size


def _progress(context: Context) -> Callable[[Tick], None] | None:
    report = context.progress
    if report is None:
        return None

    def tell(tick: Tick) -> None:
        error = "" if tick.best is None else f", validation error {tick.best:.4g}"
        report(tick.fraction, f"epoch {int(tick.epoch) + 1}{error}")

    return tell


def _blocks(panel: Panel, inputs: Inputs, origins: Sequence[np.ndarray]) -> Iterator[Block]:
    """The windows before all origins, in blocks that are no larger than a batch."""
    most = max(1, _AT_ONCE // inputs.lookback)
    for s, (series, at) in enumerate(zip(panel.series, origins, strict=True)):
        if not len(at):
            continue
        pad = max(0, inputs.lookback - int(at.min()))
        series = series.head(int(at.max()))
        values, features = inputs.values(series), inputs.features_of(series, pad)
        for begin in range(0, len(at), most):
            rows = slice(begin, begin + most)
            value, mean, scale = _scaled_windows(series, values, at[rows], inputs)
            index = at[rows, None] + np.arange(pad - inputs.lookback, pad)
            x = np.concatenate([value[..., None], features[index]], axis=-1)
            yield Block(s, rows, x, mean, scale)


def _scaled_windows(
    series: Series, values: np.ndarray, origins: np.ndarray, inputs: Inputs
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The values before each origin (O, L) in units of the network; mean and scale of the units (O, 1)."""
    raw = windows(values, origins, inputs.lookback)
    # before the first observation a window holds nothing, and forecasts are the mean
    raw[origins <= first_observed(series.values)] = inputs.scales.get(series.id, (0.0, 1.0))[0]
    if series.id in inputs.scales:
        mean, scale = (np.full((len(raw), 1), number) for number in inputs.scales[series.id])
    else:
        mean, scale = raw.mean(axis=1, keepdims=True), raw.std(axis=1, keepdims=True)
        scale[scale <= 1e-9 * abs(mean)] = 1.0
    return inputs.scaled(raw, mean, scale), mean, scale


def _packed(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Blocks of several series together, so that a batch is worth calling the network for."""
    pack: list[Block] = []
    steps = 0
    for block in blocks:
        pack.append(block)
        steps += block.x.shape[0] * block.x.shape[1]
        if steps >= _AT_ONCE // 2:
            yield pack
            pack, steps = [], 0
    if pack:
        yield pack


def _forward(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """(B, L, C) float32 to (B, H) float64, on the device of the model."""
    device = next(model.parameters()).device
    return model(torch.from_numpy(x).to(device)).cpu().double().numpy()
