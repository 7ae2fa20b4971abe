"""Which method forecasts which series, by what each missed by from earlier origins.

It begins with the better of the last value and the last season, and only a method that is better by more
than chance would do takes their place (`evidence`). From there a more complex method takes over where it
errs less by more than a small tolerance. Series that the same methods can forecast are one group and share
a choice; a series with enough windows of its own takes another one where that is clearly better on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from statewise.timeseries.config import AutoConfig
from statewise.timeseries.evidence import Comparison, Losses, compare

__all__ = ["Choice", "choose"]

_BASELINES = ("seasonal-naive", "naive")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The method of one series, and why."""

    series: str
    method: str
    mase: float
    """Of the method on the validation rows of the series; NaN where it was not judged."""
    baseline: str
    """The naive method that it is compared with; empty where nothing was judged."""
    baseline_mase: float
    reason: str
    """One clause: for the report."""

    @property
    def gain(self) -> float:
        """By how much its error is smaller than the baseline's, as a share: 0.2 is a fifth less."""
        return 1 - self.mase / self.baseline_mase if self.baseline_mase > 0 else 0.0


@dataclass(frozen=True)
class _Winner:
    method: str
    reason: str


def choose(
    errors: Mapping[str, Mapping[str, float]],
    losses: Losses,
    windows: Mapping[str, int],
    ranks: Mapping[str, int],
    config: AutoConfig,
) -> dict[str, Choice]:
    """Choose for every series.

    Args:
        errors: validation MASE, by method and series, for the report; NaN where nothing was observed.
        losses: of all origins that may decide.
        windows: validation windows of each series.
        ranks: order of simplicity of the methods.
        config: the rules, and the method to take whatever the errors say.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for series in windows:
        able = sorted(losses.methods(series), key=lambda name: ranks[name])
        groups.setdefault(tuple(able), []).append(series)
    chosen = {}
    for able, members in groups.items():
        common = _winner(losses, able, members, config)
        for series in members:
            found = _for_series(losses, able, series, common, len(members), windows[series], config)
            baseline = next((name for name in _BASELINES if name in able), "")
            chosen[series] = Choice(
                series=series,
                method=found.method,
                mase=errors[found.method].get(series, float("nan")),
                baseline=baseline,
                baseline_mase=errors.get(baseline, {}).get(series, float("nan")),
                reason=found.reason,
            )
    return chosen


def _winner(losses: Losses, able: Sequence[str], members: Sequence[str], config: AutoConfig) -> _Winner:
    """What the methods come to on some series, simplest first."""
    best = _naive(losses, able, members, config)
    reason, refused = "", None
    for name in able:
        if name in _BASELINES or name == best:
            continue
        seen = compare(losses, name, best, members)
        if not seen.gain > config.tolerance:
            continue
        if best in _BASELINES and seen.p > config.chance:
            refused = refused or _refusal(name, best, seen)
            continue
        best, reason = name, _gain(best, seen)
    if best in _BASELINES:
        return _Winner(best, refused or "no method errs less")
    return _Winner(best, reason)


def _naive(losses: Losses, able: Sequence[str], members: Sequence[str], config: AutoConfig) -> str:
    """The better of the last value and the last season; the first method where neither is there."""
    naive = [name for name in able if name in _BASELINES]
    if len(naive) < len(_BASELINES):
        return naive[0] if naive else able[0]
    return naive[1] if compare(losses, naive[1], naive[0], members).gain > config.tolerance else naive[0]


def _for_series(
    losses: Losses,
    able: Sequence[str],
    series: str,
    common: _Winner,
    members: int,
    windows: int,
    config: AutoConfig,
) -> _Winner:
    """The method of one series, given that of its group."""
    if config.choose is not None:
        if config.choose in able:
            return _Winner(config.choose, "as asked")
        return _Winner(common.method, f"{config.choose} cannot forecast this series")
    if members == 1:
        return common
    together = f"over {members} series: {common.reason}"
    if windows < config.windows:
        return _Winner(common.method, f"{together}; too few windows to choose for it alone")
    own = _winner(losses, able, [series], config)
    if own.method != common.method:
        seen = compare(losses, own.method, common.method, [series])
        # of many series some are better with another method by chance alone (Bonferroni)
        if seen.gain > config.margin and seen.p <= config.chance / members:
            reason = f"better on this series than {common.method}, the choice over {members} series"
            return _Winner(own.method, f"{reason}: {_gain(common.method, seen)}")
    return _Winner(common.method, together)


def _gain(over: str, seen: Comparison) -> str:
    return f"errs {seen.gain:.1%} less than {over} over {_blocks(seen)}"


def _refusal(name: str, over: str, seen: Comparison) -> str:
    return (
        f"{name} errs {seen.gain:.1%} less over {_blocks(seen)}, which may be chance (p = {seen.p:.2f}): "
        f"{over} stays"
    )


def _blocks(seen: Comparison) -> str:
    return f"{seen.blocks} separate horizon{'s' if seen.blocks != 1 else ''}"
