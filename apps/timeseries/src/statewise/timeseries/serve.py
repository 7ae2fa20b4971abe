"""`forecast serve`: a fitted forecast behind HTTP, advanced by the rows that clients send.

    POST /update   {"series": "north", "rows": [{"ds": "2024-02-01", "y": 12.5}]}
    GET  /predict?series=north
    GET  /series    GET /health

One process holds the state and one lock guards it; a row costs one forecast. The state is written back to the
run every so often and when the server stops. Limits: the size of a body (413), rows per request and stamps
off the grid or far ahead (422), unknown series (404). There is no authentication: bind it to the loopback, or
put it behind a server that has some.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from statewise.core.errors import suggestion
from statewise.timeseries.live import LiveForecast
from statewise.timeseries.output import ForecastTable
from statewise.timeseries.panel import Panel, Series
from statewise.timeseries.saved import SavedForecast, load_forecast
from statewise.timeseries.update import open_live, save_live

__all__ = ["MOST_ROWS", "create_app"]

MOST_ROWS = 1_000
"""Rows in one request."""
_FARTHEST = 10_000  # steps that a new row may lie after the last one


class Row(BaseModel):
    """One new value."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    ds: str | int = Field(description="stamp as in the file, such as 2024-02-01 or 2024-02-01 13:00:00")
    y: float | None = Field(description="the value; null where it is missing")


class Update(BaseModel):
    """New values of one series."""

    model_config = ConfigDict(extra="forbid")

    series: str
    rows: list[Row] = Field(min_length=1, max_length=MOST_ROWS)


class Service:
    """The state behind the endpoints.

    Args:
        saved: the fitted forecast.
        save_every: seconds between two writes of the state.
    """

    def __init__(self, saved: SavedForecast, save_every: float) -> None:
        self.saved = saved
        self.live: LiveForecast = open_live(saved)
        self.lock = threading.Lock()
        self.save_every = save_every
        self._changed, self._written = False, time.monotonic()

    def update(self, update: Update) -> dict[str, Any]:
        """Take the rows in; what they did."""
        with self.lock:
            self._require(update.series)
            newer = self._panel(update)
            (advance,) = self.live.update(newer)
            self._changed = True
            if time.monotonic() - self._written > self.save_every:
                self.save()
        inside = [None if math.isnan(share) else round(share, 4) for share in advance.inside]
        levels = self.saved.portfolio.conformal.levels
        return {
            "series": advance.series,
            "new_steps": advance.rows,
            "seen": advance.seen,
            "inside": dict(zip((f"{level:g}" for level in levels), inside, strict=True)),
        }

    def predict(self, name: str) -> dict[str, Any]:
        """The forecast of a series."""
        with self.lock:
            self._require(name)
            (forecast,) = self.live.forecasts([name])
        panel = self.saved.panel
        table = ForecastTable(
            forecasts=(forecast,),
            levels=self.saved.portfolio.conformal.levels,
            frequency=panel.frequency,
            zone=panel.zone,
        )
        return table.as_dict() | {"method": forecast.method, "note": forecast.note}

    def save(self) -> None:
        """Write the state back, if it has changed."""
        if self._changed:
            save_live(self.saved, self.live)
        self._changed, self._written = False, time.monotonic()

    def _require(self, name: str) -> None:
        if name not in self.live.tracks:
            near = suggestion(name, list(self.live.tracks))
            raise HTTPException(404, f"there is no series '{name}'" + (f": {near}" if near else ""))

    def _panel(self, update: Update) -> Panel:
        """The rows as a panel of one series on the grid of the history."""
        history = next(one for one in self.live.panel.series if one.id == update.series)
        last = history.times[-1]
        steps = [self._step(row, last, len(history)) for row in update.rows]
        first, end = min(steps), max(steps)
        values = np.full(end - first + 1, np.nan)
        for step, row in zip(steps, update.rows, strict=True):
            values[step - first] = np.nan if row.y is None else row.y
        frequency = self.saved.panel.frequency
        times = frequency.at(last, np.arange(first, end + 1))
        series = Series(
            id=update.series, times=times, values=values, covariates=self._known(history, first, end)
        )
        return Panel(series=(series,), frequency=frequency, zone=self.saved.panel.zone)

    def _known(self, history: Series, first: int, end: int) -> np.ndarray | None:
        """The covariates from step `first` on, which the fit has known ahead; None where there are none."""
        known = history.covariates
        if known is None:
            return None
        if len(known) < len(history) + end + self.saved.portfolio.context.horizon:
            raise HTTPException(
                422,
                "the covariates known ahead end before the forecast does: use `forecast update` with a file",
            )
        return known[len(history) + first - 1 :]

    def _step(self, row: Row, last: Any, length: int) -> int:
        """How many steps after the last one a row lies; 0 and less for rows that are known."""
        frequency = self.saved.panel.frequency
        try:
            stamp: Any = int(row.ds) if frequency.unit == "step" else np.datetime64(str(row.ds), "us")
        except (ValueError, TypeError):
            raise HTTPException(422, f"'{row.ds}' is no stamp such as {last}") from None
        origin = frequency.at(last, np.array([1 - length]))[0]
        index = int(frequency.index_of(np.array([stamp]), origin)[0])
        if index < 0:
            raise HTTPException(422, f"'{row.ds}' lies before the history kept, which begins at {origin}")
        if frequency.at(origin, np.array([index]))[0] != stamp:
            raise HTTPException(422, f"'{row.ds}' is off the grid: {frequency.label}, such as {last}")
        if index - length + 1 > _FARTHEST:
            raise HTTPException(422, f"'{row.ds}' lies more than {_FARTHEST:,} steps after {last}")
        return index - length + 1


class BodyLimit:
    """Refuses bodies over a size, whether they say it or not.

    Args:
        app: the application behind it.
        most: bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        body, more = b"", True
        too_long = said.isdigit() and int(said) > self.most
        while more and not too_long:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False) and message["type"] == "http.request"
            too_long = len(body) > self.most
        if too_long:
            refusal = JSONResponse({"detail": f"the body is over the limit of {self.most:,} bytes"}, 413)
            await refusal(scope, receive, send)
            return
        first = True

        async def replay() -> Message:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self.app(scope, replay, send)


def create_app(path: str | Path, *, save_every: float = 60.0, most_bytes: int = 1_000_000) -> FastAPI:
    """The application for a run or model directory.

    Args:
        path: the directory; its state is written back.
        save_every: seconds between two writes.
        most_bytes: the size of a body.

    Raises:
        CheckpointError: there is no such model.
    """
    service = Service(load_forecast(path), save_every)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        with service.lock:
            service.save()

    app = FastAPI(title="forecast", lifespan=lifespan)
    app.add_middleware(BodyLimit, most=most_bytes)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "series": len(service.live.tracks)}

    @app.get("/series")
    def series() -> dict[str, Any]:
        return {"series": list(service.live.tracks)}

    @app.get("/predict")
    def predict(series: Annotated[str, Query(description="its id")]) -> dict[str, Any]:
        return service.predict(series)

    @app.post("/update")
    def update(update: Update) -> dict[str, Any]:
        return service.update(update)

    return app
