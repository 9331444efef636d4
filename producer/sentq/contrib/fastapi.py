"""sentq in FastAPI: a client as a dependency, and responses for its errors.

app = FastAPI(
    lifespan=sentq_lifespan(),
    exception_handlers=PROBLEM_HANDLERS,
    responses=PROBLEM_RESPONSES,
)


@app.post("/score")
async def score(text: str, client: SentqClient) -> JobOutcome:
    job = await client.submit(text)
    return await job.result(timeout=10)
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends

from sentq.aio import AsyncClient
from sentq.contrib.asgi import PacedRequests
from sentq.contrib.problems import MEDIA_TYPE
from sentq.contrib.starlette import PROBLEM_HANDLERS, get_client, problem_handler, sentq_lifespan

__all__ = [
    "PROBLEM_HANDLERS",
    "PROBLEM_RESPONSES",
    "PacedRequests",
    "SentqClient",
    "get_client",
    "problem_handler",
    "sentq_lifespan",
]

#: The client, as the parameter of an endpoint or of another dependency. Tests override it with
#: `app.dependency_overrides[get_client]`.
SentqClient = Annotated[AsyncClient, Depends(get_client)]

_DOCUMENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "job_id": {"type": "string", "description": "The job, if there is one."},
        "job_status": {"type": "string", "description": "Its status, if it has no outcome yet."},
    },
}

_CONTENT: Final = {MEDIA_TYPE: {"schema": _DOCUMENT}}

#: The `responses` of an application, a router or an endpoint: they describe the problems in its
#: OpenAPI document.
PROBLEM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"description": "The request cannot be processed", "content": _CONTENT},
    "5XX": {"description": "The service cannot process the request now", "content": _CONTENT},
}
