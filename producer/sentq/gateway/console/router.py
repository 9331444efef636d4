"""All pages of the console, and what they do about errors: a page says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from sentq.contrib.problems import Problem, log_problem, problem_of
from sentq.errors import SentqError
from sentq.gateway.console import dead_letters, jobs, login, now, trial
from sentq.gateway.console.assets import PATH, asset
from sentq.gateway.console.pages import HOME, page, redirect
from sentq.gateway.errors import GatewayError, InvalidRequest, Unauthorized

__all__ = ["router"]


class _ConsoleRoute(APIRoute):
    """A page. Without a session it leads to the login; other errors are shown."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request."""
        handle = super().get_route_handler()

        async def handle_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except Unauthorized:
                return redirect(login.PATH)
            except RequestValidationError:
                return _error_page(request, InvalidRequest("a part of the address is not valid"))
            except (GatewayError, SentqError) as error:
                return _error_page(request, error)

        return handle_errors


def _error_page(request: Request, error: GatewayError | SentqError) -> Response:
    problem = _problem(error)
    response = page(
        request,
        None,
        "error.html",
        status=problem.status,
        title=problem.title,
        detail=problem.detail,
        status_text=f"{problem.status} {HTTPStatus(problem.status).phrase}",
    )
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    return response


def _problem(error: GatewayError | SentqError) -> Problem:
    if isinstance(error, GatewayError):
        return error.problem
    problem = problem_of(error)
    log_problem(error, problem)
    return problem


router: Final = APIRouter(prefix=HOME, include_in_schema=False, route_class=_ConsoleRoute)

for _add in (login.add_to, now.add_to, trial.add_to, jobs.add_to, dead_letters.add_to):
    _add(router)

router.add_route(f"{PATH}{{name}}", asset, methods=["GET"])
