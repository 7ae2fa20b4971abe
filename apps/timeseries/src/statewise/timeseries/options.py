"""What a user may say about a data file; everything left out is found in the file and reported.

Kept apart from the reader so that a command line can show these options without importing a data library.
"""

from __future__ import annotations

from dataclasses import dataclass

from statewise.core.config import require
from statewise.core.errors import ConfigError
from statewise.core.tables.separators import separator

__all__ = ["ReadOptions"]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read a data file, where it should not be found out."""

    time: str | None = None
    """Column of the time stamps; parts in several columns are joined with `+` (`year+quarter`,
    `date+time`); `none`: the rows are plain steps."""
    id: str | None = None
    """Column that tells the series of a long file apart; several are joined with `+` (`store+item`)."""
    target: tuple[str, ...] = ()
    """Columns to forecast; default: every numeric column."""
    covariates: tuple[str, ...] = ()
    """Numeric columns that help and are known ahead: fill them in the rows whose target is blank."""
    past_covariates: tuple[str, ...] = ()
    """Numeric columns that help and are known only as far as the target is; networks see them."""
    static: tuple[str, ...] = ()
    """Columns that hold one value for each series, numbers or words; networks see them."""
    holidays: str | None = None
    """Country whose public holidays are given as a covariate, such as `DE`, or a part of one, `US-CA`."""
    date_format: str | None = None
    """How dates are written: `dmy`, `mdy`, `ymd`, `epoch`, `excel`, or a pattern such as `%d.%m.%Y %H:%M`."""
    frequency: str | None = None
    """Spacing of the steps, such as `15min`, `h`, `D`, `B`, `W-MON`, `MS`, `ME`, `QS`; rows within one step
    are aggregated."""
    aggregate: str | None = None
    """How several rows of one series and step become one: `mean`, `sum`, `first` or `last`; default: the
    mean, and a question when there are many."""
    resample: bool = False
    """Give rows at irregular times to all methods as one value per step; otherwise `s5`, `lru` and `mamba`
    read each row at its own time."""
    decimal: str | None = None
    """Decimal sign, `.` or `,`."""
    delimiter: str | None = None
    """What separates the fields: `,`, `;`, `tab`, `|` or `space` (any run of blanks)."""
    encoding: str | None = None
    """Encoding of the text, such as `utf-8`, `utf-16` or `latin-1`."""
    header: bool | None = None
    """Whether the first row holds the names of the columns."""
    missing: tuple[str, ...] = ()
    """Further words that stand for a missing value, such as `ERR` or `-999`."""

    def __post_init__(self) -> None:
        signs = (None, ".", ",")
        require(self.decimal in signs, "decimal", self.decimal, "a full stop or a comma: . or ,")
        ways = (None, "mean", "sum", "first", "last")
        require(self.aggregate in ways, "aggregate", self.aggregate, "mean, sum, first or last")
        if self.delimiter is not None:
            object.__setattr__(self, "delimiter", separator(self.delimiter))
        if self.encoding is not None:
            self._check_encoding(self.encoding)
        if self.frequency is not None:
            # a frequency brings numpy, which the help of a command must not wait for
            from statewise.timeseries.frequency import Frequency

            Frequency.parse(self.frequency)

    @staticmethod
    def _check_encoding(name: str) -> None:
        try:
            "".encode(name)
        except LookupError:
            raise ConfigError(
                f"there is no encoding '{name}'",
                where="--encoding",
                expected="a name such as utf-8, utf-16, latin-1, cp1252",
                fix="leave --encoding out: it is then found in the file",
            ) from None
