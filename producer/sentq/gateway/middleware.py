"""What surrounds each request: its id, one line of the log, and the answer to unexpected errors."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import traceback
import uuid
from contextlib import suppress
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sentq.errors import SentqError
from sentq.gateway.errors import GatewayError
from sentq.gateway.problems import gateway_problem

__all__ = ["REQUEST_ID_HEADER", "RequestFrame"]

logger = logging.getLogger(__name__)

REQUEST_ID_HEADER: Final = "X-Request-ID"

#: The paths that say whether the gateway lives, and takes requests.
_PROBES: Final = ("/livez", "/readyz")

#: An id that a client may choose.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: How much is read of a body after an early response, in bytes and seconds.
_DISCARDED_BYTES: Final = 8 * 1024 * 1024
_DISCARD_S: Final = 1.0

#: What the log says of a request whose client has gone: nginx' status.
_CLIENT_GONE: Final = 499


class RequestFrame:
    """Gives each request an id, logs it, and answers errors that nothing has handled.

    A line of the log has the path as the routes write it, so that it holds nothing which a client
    has put into the path, and no query.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or the life of the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})
        started_s = time.perf_counter()
        status = 0

        rest = _RestOfBody(scope, receive)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
                headers.update(scope["state"].get("headers", {}))
                if rest.is_left:
                    headers["Connection"] = "close"
            elif rest.is_left and not message.get("more_body"):
                await send({**message, "more_body": True})
                await rest.discard()
                message = {"type": message["type"], "body": b""}
            await send(message)

        try:
            await self._serve(scope, rest.receive, send_with_id)
        except ClientDisconnect:
            status = status or _CLIENT_GONE
        except Exception as error:  # noqa: BLE001 - the client gets an answer, the log the cause
            if not isinstance(error, (GatewayError, SentqError)):
                _log_unexpected(error, request_id)
            if status:
                # The server ends the connection: the client sees that the end is missing.
                logger.warning("%s in request %s: cut off", type(error).__name__, request_id)
                return
            await gateway_problem(error)(scope, receive, send_with_id)
        finally:
            took_ms = (time.perf_counter() - started_s) * 1000
            logger.info(
                "%s %s: %d in %.1f ms; request %s, %s",
                scope["method"],
                getattr(scope.get("route"), "path", "no page"),
                status,
                took_ms,
                request_id,
                f"key {key_id}" if (key_id := scope["state"].get("key_id")) else "no key",
            )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The protocol knows how many connections there are. Probes are answered all the same.
        refusal: GatewayError | None = scope["state"].get("refusal")
        if refusal is not None and scope["path"] not in _PROBES:
            raise refusal
        await self._app(scope, receive, send)


class _RestOfBody:
    """What an early response leaves of the body of a request.

    The server ends the connection after such a response. If it did so while the client still sends,
    the client would get a reset in place of the response. So some of the rest is read first.

    Args:
        scope: The request.
        receive: Receives its body.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self.is_left = has_body
        self._receive = receive

    async def receive(self) -> Message:
        """Receive a part of the body."""
        message = await self._receive()
        if not message.get("more_body"):
            self.is_left = False
        return message

    async def discard(self) -> None:
        """Read some more, and forget it."""
        left_bytes = _DISCARDED_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_S):
                while self.is_left and left_bytes > 0:
                    left_bytes -= len((await self.receive()).get("body", b""))


def _log_unexpected(error: Exception, request_id: str) -> None:
    """Log where an error was raised, and its class. Its message might quote a text."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error(
        "%s was not handled in request %s:\n%s", type(error).__name__, request_id, frames.rstrip()
    )
