"""Requests to a gateway byte by byte, as no library for clients would send them."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple

__all__ = ["Reply", "connect", "exchange", "head", "read_reply"]

_TYPE: Final = "urn:sentq:problem:"

#: How long a response may take, in seconds.
_WITHIN_S: Final = 60.0

#: How long the end of a connection may take that a response has announced, in seconds.
_END_S: Final = 10.0


class Reply(NamedTuple):
    """What came back.

    Attributes:
        status: The status; None if the connection ended without a response.
        kind: The type of the problem; empty for a response of another type.
        is_end: Whether the connection has ended.
    """

    status: int | None
    kind: str
    is_end: bool

    def __str__(self) -> str:
        """Return it as a document writes it."""
        if self.status is None:
            return "none"
        return f"{self.status} `{self.kind}`" if self.kind else str(self.status)


def head(method: str, path: str, *headers: str, version: str = "HTTP/1.1") -> bytes:
    """Return the head of a request, with a header `Host` unless another one is given."""
    named = any(each.lower().startswith("host:") for each in headers)
    lines = [f"{method} {path} {version}", *([] if named else ["Host: localhost"]), *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def connect(port: int) -> socket.socket:
    """Return a connection to the gateway."""
    return socket.create_connection(("127.0.0.1", port), timeout=_WITHIN_S)


def exchange(port: int, parts: bytes | Iterable[bytes]) -> Reply:
    """Send parts on a connection of their own until the gateway ends it, or there are no more;
    return the response to the first request."""
    with connect(port) as connection:
        with suppress(OSError):
            for part in [parts] if isinstance(parts, bytes) else parts:
                connection.sendall(part)
        return read_reply(connection)


def read_reply(connection: socket.socket) -> Reply:
    """Read a response, and the end of the connection if the response announces it."""
    try:
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return Reply(None, "", is_end=True)
    kind = ""
    if response.headers.get("Content-Type", "") == "application/problem+json":
        kind = json.loads(body)["type"].removeprefix(_TYPE)
    is_end = response.headers.get("Connection", "").lower() == "close"
    return Reply(response.status, kind, is_end=is_end and _has_ended(connection))


def _has_ended(connection: socket.socket) -> bool:
    connection.settimeout(_END_S)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
