"""A FastAPI application whose requests await scores: `uvicorn tests.support.web.application:app`.
`paced_app` is the same behind `PacedRequests`.

POST /scores   {"text": …}   submit the text and await its score
POST /pauses   {"text": …}   do nothing for as long, for comparison
GET  /stalls                 the longest stalls of the event loop since the last call
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI
from pydantic import BaseModel

from sentq import AsyncClient, Prediction
from sentq.contrib.fastapi import PacedRequests
from tests.support.web.stalls import StallMeter

__all__ = ["app", "paced_app"]

_TIMEOUT_S: Final = 60
_PAUSE_S: Final = 0.2


class Text(BaseModel):
    """A text to be scored."""

    text: str


class Services:
    """What the application has while it runs."""

    client: AsyncClient
    meter: StallMeter


services = Services()


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    services.meter = StallMeter()
    async with AsyncClient() as services.client:
        # Otherwise each full garbage collection goes through all modules: some 100 ms.
        gc.collect()
        gc.freeze()
        yield
    await services.meter.aclose()


app = FastAPI(lifespan=_lifespan)


@app.post("/scores")
async def score(body: Text) -> dict[str, float]:
    """Return the score of a text."""
    job = await services.client.submit(body.text)
    (outcome,) = (await job.result(timeout=_TIMEOUT_S)).outcomes
    assert isinstance(outcome, Prediction)
    return {"score": outcome.score}


@app.post("/pauses")
async def pause(body: Text) -> dict[str, float]:
    """Return after some time."""
    await asyncio.sleep(_PAUSE_S)
    return {"score": float(len(body.text))}


@app.get("/stalls")
async def stalls() -> dict[str, float]:
    """Return the longest stalls since the last call."""
    return services.meter.take()._asdict()


paced_app = PacedRequests(app)
