"""Responses for the errors of sentq that views raise."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from sentq.contrib.problems import MEDIA_TYPE, log_problem, problem_of
from sentq.errors import SentqError

__all__ = ["ProblemMiddleware"]


class ProblemMiddleware(MiddlewareMixin):
    """Answers a request that an error of sentq has ended with problem details (RFC 9457).

    For projects whose clients read JSON. For views of both kinds, synchronous and asynchronous.
    """

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Return the response; None for errors that are not of sentq."""
        if not isinstance(error, SentqError):
            return None
        problem = problem_of(error)
        log_problem(error, problem)
        return HttpResponse(
            problem.body,
            status=problem.status,
            headers=problem.headers,
            content_type=MEDIA_TYPE,
        )
