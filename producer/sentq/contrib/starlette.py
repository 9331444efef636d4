"""sentq in Starlette: a client for the lifespan of the application, and responses for its errors.

app = Starlette(routes, lifespan=sentq_lifespan(), exception_handlers=PROBLEM_HANDLERS)


async def score(request: Request) -> JSONResponse:
    job = await get_client(request).submit(await request.json())
    return JSONResponse({"job": job.id}, status_code=202)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.status import (
    WS_1008_POLICY_VIOLATION,
    WS_1011_INTERNAL_ERROR,
    WS_1013_TRY_AGAIN_LATER,
)
from starlette.websockets import WebSocket

from sentq.aio import AsyncClient
from sentq.contrib.asgi import PacedRequests
from sentq.contrib.problems import MEDIA_TYPE, Problem, log_problem, problem_of
from sentq.errors import SentqError
from sentq.settings import Settings

__all__ = ["PROBLEM_HANDLERS", "PacedRequests", "get_client", "problem_handler", "sentq_lifespan"]

#: Makes the state of an application, for as long as it runs.
Lifespan: TypeAlias = Callable[[Starlette], AbstractAsyncContextManager[Mapping[str, Any]]]


def sentq_lifespan(settings: Settings | None = None, **overrides: object) -> Lifespan:
    """Return a lifespan that opens a client as the application starts, and closes it at the end.

    The client is `request.state.sentq`; `get_client` returns it. A lifespan of your own includes
    this one:

        @asynccontextmanager
        async def lifespan(app):
            async with sentq_lifespan()(app) as state:
                yield {**state, "db": …}

    Args:
        settings, overrides: As for `AsyncClient`.

    Raises, as the application starts:
        SettingsError: A setting is unknown or does not fit.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncClient(settings, **overrides) as client:
            yield {"sentq": client}

    return lifespan


def get_client(connection: HTTPConnection) -> AsyncClient:
    """Return the application's client, in a request or a WebSocket.

    Raises:
        RuntimeError: The lifespan of the application has not run.
    """
    try:
        client: AsyncClient = connection.state.sentq
    except AttributeError:
        raise RuntimeError(
            "there is no client of sentq: make the application with lifespan=sentq_lifespan(), "
            "and start it with a server or a TestClient that runs lifespans"
        ) from None
    return client


async def problem_handler(connection: HTTPConnection, error: Exception) -> Response | None:
    """Answer a request that an error of sentq has ended with problem details (RFC 9457).

    A WebSocket is closed, with the title as the reason.

    Raises:
        TypeError: The error is not one of sentq.
    """
    if not isinstance(error, SentqError):
        raise TypeError("this handler is for errors of sentq only") from error
    problem = problem_of(error)
    log_problem(error, problem)
    if isinstance(connection, WebSocket):
        await connection.close(_close_code(problem), problem.title)
        return None
    return Response(
        problem.body, status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def _close_code(problem: Problem) -> int:
    if problem.retry_after_s is not None:
        return WS_1013_TRY_AGAIN_LATER
    is_of_caller = problem.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return WS_1008_POLICY_VIOLATION if is_of_caller else WS_1011_INTERNAL_ERROR


#: The `exception_handlers` of an application.
PROBLEM_HANDLERS: Final[dict[Any, Callable[..., Any]]] = {SentqError: problem_handler}
