"""Click probabilities over HTTP: a FastAPI app around `criteo_stream.load`.

    CRITEO_RUN=run uvicorn --factory app:create_app

Settings are environment variables: ``CRITEO_RUN`` (folder of the run), ``CRITEO_DATA`` (the data
set, if it has moved), ``CRITEO_MAX_ROWS`` (of a request, 1000), ``CRITEO_MAX_BYTES`` (of its body,
4,000,000).
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

# Read when PyTorch is loaded: requests are many and small, so each takes one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

try:
    import anyio.to_thread
    from fastapi import FastAPI, HTTPException, Request, Response
    from fastapi.exceptions import RequestValidationError
    from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model
except ImportError as error:
    raise SystemExit(f"error: {error}: pip install 'criteo-stream[serve]'") from None

from criteo_stream import CriteoStreamError, __version__, load

MOST_ERRORS = 20
"""Errors of a request that are told."""
LONGEST_TEXT = 60
"""Characters of a key that is repeated in an error."""

Integer = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1)]
Code = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{8})?$")]
COLUMNS: dict[str, Any] = {f"I{i}": (Integer | None, None) for i in range(1, 14)}
COLUMNS |= {f"C{i}": (Code | None, None) for i in range(1, 27)}
Row = create_model("Row", __config__=ConfigDict(extra="forbid"), **COLUMNS)
"""Values by column; what is null or left out is missing."""


def kind_of(row: object) -> str:
    """Whether a row is a raw line or values by column."""
    return "line" if isinstance(row, str) else "row"


RowOrLine = Annotated[
    Annotated[Row, Tag("row")] | Annotated[str, Tag("line")], Discriminator(kind_of)
]


class BodyLimit:
    """Refuses bodies of too many bytes, announced or not."""

    def __init__(self, app: Any, most_bytes: int) -> None:
        self.app = app
        self.most_bytes = most_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on what is received until it is too much."""
        received = 0

        async def counted() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.most_bytes:
                raise HTTPException(413, f"the body is larger than {self.most_bytes:,} bytes")
            return message

        await self.app(scope, counted, send)


def create_app() -> FastAPI:
    """The app, with its model loaded; ends the process in one sentence if it cannot be."""
    run = os.environ.get("CRITEO_RUN")
    if not run:
        raise SystemExit("error: set CRITEO_RUN to the folder of a run")
    try:
        predictor = load(run, os.environ.get("CRITEO_DATA") or None)
        most_rows = _limit("CRITEO_MAX_ROWS", 1000)
        most_bytes = _limit("CRITEO_MAX_BYTES", 4_000_000)
    except (CriteoStreamError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None

    class Batch(BaseModel):
        """Rows to score: all lines, or all by column."""

        model_config = ConfigDict(extra="forbid")
        rows: list[RowOrLine] = Field(max_length=most_rows)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # More requests at a time than cores would only wait for each other.
        anyio.to_thread.current_default_thread_limiter().total_tokens = os.cpu_count() or 1
        yield

    app = FastAPI(title="criteo-stream", version=__version__, lifespan=lifespan)
    app.add_middleware(BodyLimit, most_bytes=most_bytes)
    app.exception_handler(RequestValidationError)(refuse)

    @app.get("/health")
    async def health() -> dict[str, str | int]:
        return {
            "status": "ok",
            "model": predictor.model,
            "step": predictor.step,
            "data_fingerprint": predictor.data_fingerprint,
            "fit_fingerprint": predictor.fit_fingerprint,
            "package_version": __version__,
        }

    @app.post("/predict")
    def predict(batch: Batch) -> Response:
        rows = [row if isinstance(row, str) else vars(row) for row in batch.rows]
        try:
            probabilities = predictor.predict_proba(rows)
        except CriteoStreamError as error:
            return answer(422, {"detail": [{"loc": ["body", "rows"], "msg": str(error)}]})
        return answer(200, {"probabilities": probabilities.tolist()})

    return app


async def refuse(_: Request, error: Exception) -> Response:
    """The first errors with their places; not the values, which may be large or not JSON."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    told = [
        {"loc": [_short(part) for part in e["loc"]], "msg": _short(e["msg"], 300)}
        for e in found[:MOST_ERRORS]
    ]
    return answer(422, {"detail": told, "errors": len(found)})


def answer(status: int, content: dict[str, Any]) -> Response:
    """JSON of ASCII alone: a request's key may be no valid text."""
    return Response(json.dumps(content), status, media_type="application/json")


def _short(part: int | str, most: int = LONGEST_TEXT) -> int | str:
    return part if isinstance(part, int) or len(part) <= most else f"{part[:most]}…"


def _limit(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name} is {text!r}, expected a positive whole number")
    return int(text)
