"""What the gateway answers by itself, as errors: each class has a type of problem of its own.

    GatewayError
    ├── MalformedRequest       the body or a header is not what it says
    ├── Unauthorized           no key, or no valid one
    ├── Forbidden              the key may not do this
    ├── PageNotFound, WrongMethod
    ├── HeadTooSlow, HeadTooLarge
    ├── BodyTooSlow, BodyTooLarge
    ├── RequestInProgress      a request with the same idempotency key has not ended
    ├── JobNotCancelled        it runs or has ended
    ├── BatchExpired           its outcomes are kept no longer
    ├── UnsupportedBody        its type, or its encoding
    ├── InvalidRequest         the body is JSON, and not what the operation takes
    ├── InvalidLine            a line of an upload cannot be used
    ├── MisdirectedRequest     a name that is not the gateway's
    ├── RateLimited            the key has sent too much
    ├── TooManyConnections     as many as the gateway takes
    ├── GatewayStopping        this gateway ends
    └── UnexpectedFailure      an error of the gateway

No message quotes what the request holds. Errors of `sentq.errors` have types too, those of
`sentq.contrib.problems`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar

from sentq.contrib.problems import Problem, ProblemType, type_of

__all__ = [
    "BatchExpired",
    "BodyTooLarge",
    "BodyTooSlow",
    "Forbidden",
    "GatewayError",
    "GatewayStopping",
    "HeadTooLarge",
    "HeadTooSlow",
    "InvalidLine",
    "InvalidRequest",
    "JobNotCancelled",
    "MalformedRequest",
    "MisdirectedRequest",
    "PageNotFound",
    "RateLimited",
    "RequestInProgress",
    "TooManyConnections",
    "Unauthorized",
    "UnexpectedFailure",
    "UnsupportedBody",
    "WrongMethod",
]


class GatewayError(Exception):
    """A request that the gateway ends by itself. The message is the problem's detail.

    Args:
        detail: What is wrong, and what to do. It never quotes the request.
        retry_after_s: In how many seconds the request may be repeated; None if it should not be.
        headers: Further headers of the response.
    """

    about: ClassVar[ProblemType]

    def __init__(
        self,
        detail: str,
        *,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})

    @property
    def problem(self) -> Problem:
        """The problem of the response."""
        return Problem(
            type=type_of(type(self)),
            title=self.about.title,
            status=self.about.status,
            detail=self.detail,
            retry_after_s=self.retry_after_s,
            members=self.members,
        )

    @property
    def members(self) -> Mapping[str, object]:
        """Further members of the problem."""
        return {}


class MalformedRequest(GatewayError):
    """The body is not JSON, CSV or gzip as it says, or a header has another form."""

    about = ProblemType(HTTPStatus.BAD_REQUEST, "The request cannot be read")


class Unauthorized(GatewayError):
    """There is no key, or none that is valid."""

    about = ProblemType(HTTPStatus.UNAUTHORIZED, "A valid key is needed")

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="sentq"'})


class Forbidden(GatewayError):
    """The key is valid, and does not have the scope of the operation."""

    about = ProblemType(HTTPStatus.FORBIDDEN, "The key may not do this")


class PageNotFound(GatewayError):
    """There is no such path."""

    about = ProblemType(HTTPStatus.NOT_FOUND, "There is no such page")


class WrongMethod(GatewayError):
    """The path does not have this method."""

    about = ProblemType(HTTPStatus.METHOD_NOT_ALLOWED, "The page does not take this method")


class HeadTooSlow(GatewayError):
    """Request line and headers did not arrive in time."""

    about = ProblemType(HTTPStatus.REQUEST_TIMEOUT, "The request took too long")


class HeadTooLarge(GatewayError):
    """Request line and headers have too many bytes."""

    about = ProblemType(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large")


class BodyTooSlow(GatewayError):
    """The body did not arrive in time."""

    about = ProblemType(HTTPStatus.REQUEST_TIMEOUT, "The body took too long")


class RequestInProgress(GatewayError):
    """A request with the same idempotency key has not ended."""

    about = ProblemType(HTTPStatus.CONFLICT, "The same request is in progress")


class JobNotCancelled(GatewayError):
    """The job runs, or has ended."""

    about = ProblemType(HTTPStatus.CONFLICT, "The job cannot be cancelled any more")


class BatchExpired(GatewayError):
    """The batch was kept for its time."""

    about = ProblemType(HTTPStatus.GONE, "The batch has expired")


class BodyTooLarge(GatewayError):
    """The body has too many bytes. The rest of it is not read."""

    about = ProblemType(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large")


class UnsupportedBody(GatewayError):
    """The body has a type or an encoding that the operation does not take."""

    about = ProblemType(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The type of the body is not supported")


class MisdirectedRequest(GatewayError):
    """The request names another host than a gateway without keys answers for."""

    about = ProblemType(HTTPStatus.MISDIRECTED_REQUEST, "This gateway does not answer for the host")


class InvalidRequest(GatewayError):
    """A parameter or the body is not what the operation takes.

    Args:
        detail: What is wrong.
        errors: For each wrong value, where it is (a JSON pointer, or the name of a parameter) and
            what is wrong with it.
    """

    about = ProblemType(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid")

    def __init__(self, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(detail)
        self.errors = [dict(each) for each in errors]

    @property
    def members(self) -> Mapping[str, object]:
        """The wrong values."""
        return {"errors": self.errors} if self.errors else {}


class InvalidLine(GatewayError):
    """A line of an upload cannot be used. The jobs of the lines before it were accepted.

    Args:
        line: Its number, counted from 1.
        what: What is wrong with it.

    Attributes:
        batch_id: The batch that has the lines before it, if it may be continued.
    """

    about = ProblemType(HTTPStatus.UNPROCESSABLE_ENTITY, "A line cannot be used")

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.batch_id: str | None = None

    @property
    def members(self) -> Mapping[str, object]:
        """The number of the line, and the batch."""
        batch = {} if self.batch_id is None else {"batch_id": self.batch_id}
        return {"line": self.line, **batch}


class RateLimited(GatewayError):
    """The key has sent more than it may in a minute."""

    about = ProblemType(HTTPStatus.TOO_MANY_REQUESTS, "The key has reached its limit")


class TooManyConnections(GatewayError):
    """There are as many connections as the gateway takes."""

    about = ProblemType(HTTPStatus.SERVICE_UNAVAILABLE, "There are too many connections")


class GatewayStopping(GatewayError):
    """This gateway ends. Another one may take the request."""

    about = ProblemType(HTTPStatus.SERVICE_UNAVAILABLE, "The gateway ends")


class UnexpectedFailure(GatewayError):
    """An error of the gateway. Its log has more."""

    about = ProblemType(HTTPStatus.INTERNAL_SERVER_ERROR, "The gateway failed")
