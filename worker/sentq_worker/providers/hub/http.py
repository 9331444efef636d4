"""The HTTP client behind calls to the Hub: it rejects responses before their body is read.

`huggingface_hub` sets no limit to the size of a response, follows redirects with the token, and
decompresses a response to any size. Its client can be replaced (`set_async_client_factory`), and a
hook of httpx gets a response before its body is read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from typing import Final

from huggingface_hub import constants
from huggingface_hub.utils import httpx
from huggingface_hub.utils import logging as hub_logging

__all__ = [
    "MAX_RESPONSE_BYTES",
    "NonFiniteScores",
    "Redirected",
    "ResponseRejected",
    "make_client",
    "quiet_libraries",
]

#: The probabilities of a thousand labels take 64 KiB.
MAX_RESPONSE_BYTES: Final = 256 * 1024

#: Loggers that write a line for each call, at INFO or DEBUG, some with the body of the request.
#: `huggingface_hub` 1 has httpx.
_NOISY_LOGGERS: Final = ("httpx2", "httpcore2", "httpx", "httpcore")

#: A value that Python's JSON writes and reads, although no standard defines it.
_NAN: Final = re.compile(rb":\s*NaN\b")


class ResponseRejected(Exception):
    """A response is not read: it is too large, or compressed although that was not requested."""


class NonFiniteScores(Exception):
    """A score is not a number. `AsyncInferenceClient` would recurse without end on it."""


class Redirected(Exception):
    """The response names another address. Neither texts nor the token are sent there."""


def make_client() -> httpx.AsyncClient:
    """Make a client that follows no redirects and reads only small, uncompressed responses.

    It has none of `huggingface_hub`'s own hooks, which log requests with their bodies if
    `HF_DEBUG` is set.
    """
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,
        timeout=None,
        # Each call has its own time-out, and the caller limits the calls in flight.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        event_hooks={"request": [_check_online], "response": [_check_response]},
    )


def quiet_libraries() -> None:
    """Stop the libraries from logging single calls, at any log level of the worker."""
    hub_logging.set_verbosity(logging.ERROR)
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


async def _check_online(_request: httpx.Request) -> None:
    if constants.is_offline_mode():
        raise ResponseRejected("HF_HUB_OFFLINE is set")


async def _check_response(response: httpx.Response) -> None:
    if response.is_redirect:
        raise Redirected(f"{response.status_code}")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ResponseRejected("it is compressed")
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _LimitedBody(response.stream)


class _LimitedBody(httpx.AsyncByteStream):
    """A body of at most `MAX_RESPONSE_BYTES`, in one piece."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = bytearray()
        async for chunk in self._inner:
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                raise ResponseRejected(f"it is larger than {MAX_RESPONSE_BYTES:,} bytes")
        if _NAN.search(body):
            raise NonFiniteScores
        yield _in_router_form(bytes(body))

    async def aclose(self) -> None:
        await self._inner.aclose()


def _in_router_form(body: bytes) -> bytes:
    """Return a body in the form of the router's.

    A dedicated endpoint may return the labels of the one text without the list of texts around
    it. `AsyncInferenceClient` would then return the first label alone.
    """
    return b"[" + body + b"]" if body.lstrip()[:64].replace(b" ", b"").startswith(b"[{") else body
