"""Settings of judging, calibrating and choosing."""

from __future__ import annotations

from dataclasses import dataclass, field

from statewise.core.config import require

__all__ = ["AutoConfig", "BacktestConfig", "ConformalConfig"]


@dataclass(frozen=True, kw_only=True)
class BacktestConfig:
    """Which rows judge, and from how many origins."""

    validation: float = 0.2
    """Share of each series that chooses the method, before the test rows."""
    test: float = 0.2
    """Share of each series, at its end, that only the report sees."""
    origins: int = 64
    """Forecast origins per series in each of the two, at most, where a method is fitted anew at each."""
    dense: int = 512
    """The same for methods that forecast from many origins at once."""
    values: int = 4_000_000
    """Forecast values per method, over all series, at most; origins become fewer beyond."""

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            require(0 < getattr(self, name) <= 0.4, name, getattr(self, name), "above 0 and at most 0.4")
        for name in ("origins", "dense", "values"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")


@dataclass(frozen=True, kw_only=True)
class ConformalConfig:
    """Levels of the intervals, and how fast they adapt."""

    levels: tuple[float, ...] = (0.8, 0.95)
    """Nominal coverages, ascending."""
    adapt: float = 0.02
    """Relative change of a half-width for each residual that it misses, eta; 0: never."""

    def __post_init__(self) -> None:
        legal = self.levels and all(0 < level < 1 for level in self.levels)
        require(bool(legal), "levels", self.levels, "coverages between 0 and 1")
        require(list(self.levels) == sorted(set(self.levels)), "levels", self.levels, "ascending levels")
        require(0 <= self.adapt <= 1, "adapt", self.adapt, "between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class AutoConfig:
    """How `auto` tries methods and chooses."""

    methods: tuple[str, ...] = (
        "naive",
        "seasonal-naive",
        "drift",
        "nlinear",
        "dlinear",
        "theta",
        "ets",
        "tpgn",
    )
    """Names of the methods to try; the naive ones are tried in any case."""
    choose: str | None = None
    """Method to take wherever it can be used, whatever its error; None: the best one."""
    budget: float | None = 60.0
    """Seconds for everything; None: no limit."""
    tolerance: float = 0.01
    """A simpler method is preferred where its error is at most this share larger."""
    margin: float = 0.02
    """A series leaves the choice of its group only for a method better by this share on it."""
    windows: int = 20
    """Validation windows without which a series follows its group."""
    chance: float = 0.1
    """The last value and the last season give way only to a method whose gain has at most this chance of
    being none."""
    blend: bool = True
    """Let a weighted mean of the better methods compete."""
    folds: tuple[float, ...] = (0.5, 0.75)
    """Shares of the training rows after which methods that are fitted in closed form are judged too."""
    fold_values: int = 2_000_000
    """Rows of all series together, above which there is evidence enough without that."""
    backtest: BacktestConfig = field(default_factory=BacktestConfig)
    conformal: ConformalConfig = field(default_factory=ConformalConfig)

    def __post_init__(self) -> None:
        require(self.budget is None or self.budget > 0, "budget", self.budget, "a positive number of seconds")
        for name in ("tolerance", "margin"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "from 0 to below 1")
        require(self.windows >= 1, "windows", self.windows, "1 or more")
        require(0 < self.chance <= 1, "chance", self.chance, "above 0 and at most 1")
        legal = all(0 < share < 1 for share in self.folds) and list(self.folds) == sorted(set(self.folds))
        require(legal, "folds", self.folds, "ascending shares between 0 and 1")
