"""uvicorn's protocol of HTTP with bounds for what a connection may cost.

    head of a request     so many bytes, and so many seconds to arrive          431, 408
    trailers of a body    they count as bytes of the head, and are forgotten    431
    pipelined requests    so many wait for their turn                           the end
    response              the client reads something of it now and then         the end

Without them a client could send headers without end, or one byte a minute, and the parser would
keep them all. A request that cannot be read is answered with a problem, unless a response to an
earlier one is under way: then the connection ends.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sentq.gateway.errors import (
    GatewayError,
    HeadTooLarge,
    HeadTooSlow,
    MalformedRequest,
    TooManyConnections,
)
from sentq.gateway.problems import gateway_problem

__all__ = ["BoundedHttpProtocol"]

logger = logging.getLogger(__name__)

#: How many bytes the request line and the headers may have together, and how long they may take to
#: arrive, in seconds.
_HEAD_BYTES: Final = 64 * 1024
_HEAD_S: Final = 15.0

#: What a line of the head has besides name and value.
_LINE_BYTES: Final = 4

#: How many requests of one connection may wait for the responses to earlier ones.
_PIPELINED: Final = 64

#: When a client may come back that was one too many, in seconds.
_RETRY_AFTER_S: Final = 5

#: How long a client may read nothing of a response, in seconds.
_UNREAD_S: Final = 60.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The application refuses what exceeds it: uvicorn would refuse probes too.
        self._most_connections, self.limit_concurrency = self.limit_concurrency, None
        #: Requests whose responses have not ended, in order.
        self._unanswered: list[RequestResponseCycle] = []
        #: Bytes of the head, and those that have come since the parser last found something.
        self._head_bytes = 0
        self._unparsed_bytes = 0
        self._has_parsed = False
        self._is_in_body = False
        self._error: GatewayError | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and tell all requests."""
        self._end_head()
        self._end_unread()
        super().connection_lost(exc)
        # The base tells the last one only.
        for cycle in self._unanswered:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    # What comes from the client.

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        self._has_parsed = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._unparsed_bytes = 0 if self._has_parsed else self._unparsed_bytes + len(data)
        if self._unparsed_bytes > _HEAD_BYTES:
            self._refuse(_too_large())
        elif self._is_idle and self._head_timer is None:
            # Line breaks between two requests: the base has ended its own timer.
            self._begin_head()

    def on_message_begin(self) -> None:
        """Begin the head of a request."""
        super().on_message_begin()
        self._has_parsed = True
        self._is_in_body = False
        self._begin_head()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or forget a trailer: no operation has any."""
        self._count(len(name) + len(value) + _LINE_BYTES)
        if not self._is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the head of a request, and begin to answer."""
        self._end_head()
        self._has_parsed = True
        self._check_head()
        if self._most_connections is not None and len(self.connections) > self._most_connections:
            self.scope["state"]["refusal"] = TooManyConnections(
                f"the gateway takes {self._most_connections:,} connections (max_connections)",
                retry_after_s=_RETRY_AFTER_S,
                headers={"Connection": "close"},
            )
        super().on_headers_complete()
        self._is_in_body = True
        self._unanswered = [each for each in self._unanswered if not each.response_complete]
        self._unanswered.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._has_parsed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._has_parsed = True
        self._is_in_body = False
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, _msg: str) -> None:
        """Refuse what the parser cannot read, or a callback has refused."""
        self._refuse(self._error or MalformedRequest("this is no valid request of HTTP/1.1"))

    # What goes to the client.

    def pause_writing(self) -> None:
        """Stop writing, and expect that the client reads."""
        super().pause_writing()
        self._end_unread()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._end_unread()
        super().resume_writing()

    @property
    def _is_idle(self) -> bool:
        """Whether no request is under way, and no timer of the base awaits the next one."""
        is_answered = all(each.response_complete for each in self._unanswered)
        return is_answered and not self._is_in_body and self.timeout_keep_alive_task is None

    def _count(self, size_bytes: int) -> None:
        """Count bytes of the head.

        Raises:
            HeadTooLarge: There are too many.
        """
        self._has_parsed = True
        self._head_bytes += size_bytes
        if self._head_bytes > _HEAD_BYTES:
            self._error = _too_large()
            raise self._error

    def _check_head(self) -> None:
        """Check what the parser does not.

        Raises:
            MalformedRequest: The request names no host or several, asks for another protocol while
                it has a body, or too many wait before it.
        """
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        problem = ""
        if hosts > 1 or (not hosts and self.parser.get_http_version() != "1.0"):
            problem = "a request has one header Host"
        elif self.parser.should_upgrade() and {b"content-length", b"transfer-encoding"} & {*names}:
            # The parser would leave the body out, and read it as the next request.
            problem = "a request that asks for another protocol has no body"
        elif len(self.pipeline) >= _PIPELINED:
            problem = "too many requests wait for the responses to earlier ones"
        if problem:
            self._error = MalformedRequest(problem)
            raise self._error

    def _begin_head(self) -> None:
        self._end_head()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(_HEAD_S, self._refuse_slow)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _expect_reading(self) -> None:
        left_bytes = self.transport.get_write_buffer_size()
        self._unread_timer = self.loop.call_later(_UNREAD_S, self._check_reading, left_bytes)

    def _check_reading(self, left_bytes: int) -> None:
        """End the connection if as much is left to be read as before."""
        if self.transport.get_write_buffer_size() < left_bytes:
            self._expect_reading()
            return
        logger.info("a client has read nothing of a response for %d s: cut off", _UNREAD_S)
        self.transport.abort()

    def _end_unread(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _refuse_slow(self) -> None:
        self._refuse(HeadTooSlow(f"request line and headers did not arrive within {_HEAD_S:.0f} s"))

    def _refuse(self, error: GatewayError) -> None:
        """End the connection, with a response if that is the next one which the client expects."""
        self._end_head()
        if self.transport.is_closing():
            return
        if self._may_answer():
            response = gateway_problem(error)
            logger.info("a request that was not read: %d", response.status_code)
            self.transport.write(_bytes_of(response))
        self.transport.close()

    def _may_answer(self) -> bool:
        unanswered = [each for each in self._unanswered if not each.response_complete]
        if not self._is_in_body:
            return not unanswered
        return unanswered == [self.cycle] and not self.cycle.response_started


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(f"request line and headers have more than {_HEAD_BYTES:,} bytes")


def _bytes_of(response: Response) -> bytes:
    status = HTTPStatus(response.status_code)
    headers = [*response.raw_headers, (b"connection", b"close")]
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])
