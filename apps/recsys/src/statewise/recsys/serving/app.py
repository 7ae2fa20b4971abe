"""The web service: POST /event, POST /recommend, GET /health.

    POST /event      {"user": "alice", "item": "B0001"}           -> {"kept": 12}
    POST /recommend  {"user": "alice", "k": 10, "deny": [...]}    -> {"items": [{"item", "score"}]}
    GET  /health                                                  -> {"status", "items", "events"}

An event is answered when it is kept. Bodies are limited to 64 KB, ids to 256 characters, k to 1,000.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from statewise.core.errors import UserError
from statewise.recsys import __version__
from statewise.recsys.saved import load_recommender
from statewise.recsys.serving.engine import Engine
from statewise.recsys.serving.store import Store

__all__ = ["create_app", "make_engine", "run_service"]

_BODY = 65_536
Id = Annotated[str, Field(min_length=1, max_length=256)]


class Event(BaseModel):
    """An event of a user."""

    model_config = ConfigDict(extra="forbid")
    user: Id
    item: Id


class Wish(BaseModel):
    """A wish for recommendations."""

    model_config = ConfigDict(extra="forbid")
    user: Id
    k: Annotated[int, Field(ge=1, le=1_000)] = 10
    repeat: Literal["exclude", "allow", "only"] | None = None
    deny: Annotated[list[Id], Field(max_length=1_000)] = []


class _Limit:
    """Refuse bodies that are too long or do not say their length."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            headers = dict(scope["headers"])
            length = headers.get(b"content-length", b"")
            if not length.isdigit() or int(length) > _BODY:
                refusal = {"detail": f"a body states its length and has at most {_BODY:,} bytes"}
                await JSONResponse(refusal, status_code=413)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def make_engine(
    run: str | Path, *, store: str | Path | None = None, durable: bool = False, nearest: str = "auto"
) -> Engine:
    """The engine of a saved model, with its states in `store` (default: `states.sqlite` in the run)."""
    import hashlib

    one = load_recommender(run)
    folder = Path(run)
    config = folder / "config.json"
    if not config.exists():
        config = folder / "model" / "config.json"
    digest = hashlib.sha256(config.read_bytes()).hexdigest()[:16]
    path = folder / "states.sqlite" if store is None else Path(store)
    return Engine(one, Store(path, digest, durable=durable), nearest=nearest)


def create_app(engine: Engine) -> FastAPI:
    """The service around an engine."""
    app = FastAPI(title="statewise recsys", version=__version__)

    app.add_middleware(_Limit)

    @app.exception_handler(UserError)
    async def refuse(request: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": error.as_dict()}, status_code=404)

    # Short work on one processor: a thread for each request would only wait for the interpreter's lock.
    @app.post("/event")
    async def event(body: Event) -> dict[str, int]:
        return {"kept": engine.event(body.user, body.item)}

    @app.post("/recommend")
    async def recommend(body: Wish) -> dict[str, Any]:
        found = engine.recommend(body.user, body.k, repeat=body.repeat, deny=body.deny)
        return {"user": body.user, "items": [{"item": item, "score": score} for item, score in found]}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "model": engine.one.model,
            "items": len(engine.ids),
            "events": engine.store.events(),
        }

    return app


def run_service(engine: Engine, *, host: str, port: int, threads: int = 1) -> int:
    """Serve until the process is told to stop; the number of events kept."""
    import torch
    import uvicorn

    torch.set_num_threads(threads)
    uvicorn.run(create_app(engine), host=host, port=port, log_level="warning", access_log=False)
    kept = engine.store.events()
    engine.store.close()
    return kept
