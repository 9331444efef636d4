"""The HTTP client behind calls to the Hub: what it refuses before anybody reads it.

`huggingface_hub` sets no limit to an answer's size, follows redirects with the token in hand, and
unpacks what comes compressed, however large that becomes. Its client can be made by others
(`set_async_client_factory`), and a hook of httpx sees an answer before its body is read.
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
    "MAX_ANSWER_BYTES",
    "AnswerRefused",
    "NotFinite",
    "Redirected",
    "make_client",
    "quiet_libraries",
]

#: The probabilities of a thousand labels take 64 KiB.
MAX_ANSWER_BYTES: Final = 256 * 1024

#: They log each call, at INFO or DEBUG, and some what it carried. `huggingface_hub` 1 has httpx.
_TALKATIVE: Final = ("httpx2", "httpcore2", "httpx", "httpcore")

#: A value that Python's JSON writes and reads, though no standard has it.
_NAN: Final = re.compile(rb":\s*NaN\b")


class AnswerRefused(Exception):
    """An answer that is not read: too large, or compressed though we asked for neither."""


class NotFinite(Exception):
    """A score is no number. `AsyncInferenceClient` compares it with itself until the stack ends."""


class Redirected(Exception):
    """The answer is at another address. Neither texts nor token go where nobody sent them."""


def make_client() -> httpx.AsyncClient:
    """A client without redirects, whose answers are small and come as they are.

    It has none of `huggingface_hub`'s own hooks, which log requests with their bodies where
    `HF_DEBUG` is set.
    """
    return httpx.AsyncClient(
        headers={"Accept-Encoding": "identity"},
        follow_redirects=False,
        timeout=None,
        # Each call has its own, and how many there are at once is the caller's to limit.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        event_hooks={"request": [_refuse_offline], "response": [_guard]},
    )


def quiet_libraries() -> None:
    """Have the libraries say nothing of single calls, at any log level of the worker."""
    hub_logging.set_verbosity(logging.ERROR)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)


async def _refuse_offline(_request: httpx.Request) -> None:
    if constants.is_offline_mode():
        raise AnswerRefused("HF_HUB_OFFLINE is set")


async def _guard(response: httpx.Response) -> None:
    if response.is_redirect:
        raise Redirected(f"{response.status_code}")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise AnswerRefused("it is compressed")
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _Limited(response.stream)


class _Limited(httpx.AsyncByteStream):
    """A body of at most `MAX_ANSWER_BYTES`, in one piece."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = bytearray()
        async for part in self._inner:
            body += part
            if len(body) > MAX_ANSWER_BYTES:
                raise AnswerRefused(f"it is larger than {MAX_ANSWER_BYTES:,} bytes")
        if _NAN.search(body):
            raise NotFinite
        yield _as_the_router(bytes(body))

    async def aclose(self) -> None:
        await self._inner.aclose()


def _as_the_router(body: bytes) -> bytes:
    """A dedicated endpoint may give the labels of the one text without the list of texts around
    it, of which `AsyncInferenceClient` would keep the first alone."""
    return b"[" + body + b"]" if body.lstrip()[:64].replace(b" ", b"").startswith(b"[{") else body
