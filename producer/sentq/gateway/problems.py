"""Responses for errors: each is a document of RFC 9457."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sentq.contrib.problems import MEDIA_TYPE, Problem, log_problem, problem_of
from sentq.errors import SentqError
from sentq.gateway.errors import (
    GatewayError,
    InvalidRequest,
    MalformedRequest,
    PageNotFound,
    UnexpectedFailure,
    WrongMethod,
)

__all__ = ["HANDLERS", "gateway_problem", "problem_response"]


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response of a problem.

    Args:
        problem: The problem.
        headers: Headers besides those of the problem.
    """
    return Response(
        problem.body,
        status_code=problem.status,
        headers={**problem.headers, "Cache-Control": "no-store", **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def gateway_problem(error: Exception) -> Response:
    """Return the response for an error that nothing else has handled."""
    if isinstance(error, GatewayError):
        return problem_response(error.problem, error.headers)
    if isinstance(error, SentqError):
        problem = problem_of(error)
        log_problem(error, problem)
        return problem_response(problem)
    return gateway_problem(
        UnexpectedFailure("This is an error of the gateway. Its log has more, by the request id.")
    )


async def _handle(_request: Request, error: Exception) -> Response:
    return gateway_problem(error)


async def _handle_http(request: Request, error: Exception) -> Response:
    """Handle what the framework raises: paths and methods that do not exist."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this class
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return gateway_problem(PageNotFound("see /openapi.json for all pages"))
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = _methods_of(request) or (error.headers or {}).get("Allow", "other methods")
            return gateway_problem(
                WrongMethod(f"the page takes {allowed}", headers={"Allow": allowed})
            )
    return gateway_problem(MalformedRequest("the request cannot be read"))


def _methods_of(request: Request) -> str:
    """Return the methods that the path of a request has; empty for a path that is not described.

    The framework names the methods of one route only.
    """
    for path, operations in request.app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.url.path):
            return ", ".join(sorted(operations)).upper()
    return ""


async def _handle_parameters(_request: Request, error: Exception) -> Response:
    """Handle parameters and headers that are not valid. They are not quoted."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    wrong = [
        {"where": str(each["loc"][-1]), "what": str(each["msg"])}
        for each in error.errors()
        if each["loc"]
    ]
    return gateway_problem(InvalidRequest("a parameter or a header is not valid", wrong))


#: The `exception_handlers` of the application.
HANDLERS: Final[dict[Any, Callable[..., Any]]] = {
    SentqError: _handle,
    GatewayError: _handle,
    HTTPException: _handle_http,
    RequestValidationError: _handle_parameters,
}
