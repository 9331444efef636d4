"""What tests read in the responses of a gateway."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["HttpResponse", "problem_in"]


class HttpResponse(Protocol):
    """A response, of any client."""

    status_code: int

    @property
    def headers(self) -> Any:
        """The headers."""

    def json(self) -> Any:
        """Return the body."""


def problem_in(response: HttpResponse) -> tuple[int, str]:
    """Return the status of a problem, and the name of its type."""
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == response.status_code
    return int(response.status_code), document["type"].removeprefix("urn:sentq:problem:")
