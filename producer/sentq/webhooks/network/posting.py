"""One HTTP request to a receiver, bounded in time and in what is read.

It is sent with httpcore, the part of httpx that speaks HTTP: that follows no redirect, reads no
proxy or credentials from the environment, keeps no cookie and decompresses nothing. All of that
would have to be turned off elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import httpcore2

from sentq.errors import SettingsError
from sentq.version import VERSION
from sentq.webhooks.network.connecting import (
    AddressRefused,
    CheckedNetwork,
    HostLookup,
    LookupFailed,
)
from sentq.webhooks.network.targets import TargetRules, WebhookTarget

if TYPE_CHECKING:
    from sentq.webhooks.settings import WebhookSettings

__all__ = ["PostResult", "Poster"]

#: How much of the body of a response is read, and for how long, in seconds.
_READ_BYTES: Final = 16 * 1024
_READ_S: Final = 1.0

_BROKEN: Final = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException)

_OK: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)
_GONE: Final = 410

_HEADERS: Final = {
    "content-type": "application/json",
    "accept": "*/*",
    "user-agent": f"sentq-webhooks/{VERSION}",
    # Each request has a connection of its own, to an address that was checked for it.
    "connection": "close",
}


@dataclass(frozen=True, slots=True)
class PostResult:
    """What became of a request.

    Attributes:
        status: The status of the response; None without one.
        error: Why it failed; None if the receiver has accepted the webhook.
        is_refused: Whether the address is not allowed, so that a repetition makes no sense.
        retry_after_s: What the receiver asks for, in seconds.
    """

    status: int | None
    error: str | None = None
    is_refused: bool = False
    retry_after_s: float | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no more webhooks."""
        return self.status == _GONE


class Poster:
    """Sends requests, from one event loop.

    Args:
        settings: Time limit, certificates and the number of requests.
        rules: The addresses that may be connected to.

    Raises:
        SettingsError: The certificates cannot be read.
    """

    def __init__(self, settings: WebhookSettings, rules: TargetRules) -> None:
        # It logs whole requests, with URLs.
        logging.getLogger("httpcore2").setLevel(logging.WARNING)
        self._timeout_s = settings.timeout_s
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=_tls(settings),
            max_connections=settings.in_flight,
            max_keepalive_connections=0,
            network_backend=CheckedNetwork(rules, HostLookup()),
        )

    async def post(
        self, target: WebhookTarget, headers: Mapping[str, str], body: bytes
    ) -> PostResult:
        """Send one request, and return what became of it within the time limit."""
        result: PostResult | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                async with self._response(target, headers, body) as response:
                    result = _result(response)
                    await _read_some(response)
        except TimeoutError:
            return result or PostResult(None, f"no response within {self._timeout_s:g} s")
        except AddressRefused as error:
            return PostResult(None, str(error), is_refused=True)
        except LookupFailed as error:
            return PostResult(None, str(error))
        except httpcore2.ConnectError as error:
            # The message of TLS says what is wrong with a certificate, and quotes no URL.
            return PostResult(None, f"cannot connect: {error}")
        except _BROKEN as error:
            return result or PostResult(None, f"the connection failed ({type(error).__name__})")
        return result

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    def _response(
        self, target: WebhookTarget, headers: Mapping[str, str], body: bytes
    ) -> AbstractAsyncContextManager[httpcore2.Response]:
        # Of the parts, so that httpcore does not read the URL in a way of its own.
        url = httpcore2.URL(
            scheme=target.scheme, host=target.host, port=target.port, target=target.path
        )
        sent = [("host", target.authority), *_HEADERS.items(), *headers.items()]
        return self._pool.stream("POST", url, headers=sent, content=body)


async def _read_some(response: httpcore2.Response) -> None:
    """Read the beginning of a body, so that a receiver that writes a short one sees no error. What
    became of the request is known before."""
    read = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_READ_S), aclosing(response.aiter_stream()) as parts:
            async for part in parts:
                read += len(part)
                if read > _READ_BYTES:
                    return


def _result(response: httpcore2.Response) -> PostResult:
    status = response.status
    if status in _OK:
        return PostResult(status)
    if status in _REDIRECTS:
        return PostResult(status, f"status {status}: redirects are not followed")
    return PostResult(status, f"status {status}", retry_after_s=_retry_after_s(response))


def _retry_after_s(response: httpcore2.Response) -> float | None:
    """Return what `Retry-After` says, in seconds; None if it says nothing that can be read."""
    for name, value in response.headers:
        if name.lower() != b"retry-after":
            continue
        text = value.decode("ascii", "replace").strip()
        if text.isdecimal():
            return float(text[:9])
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return max(0.0, (at - datetime.now(UTC)).total_seconds())
    return None


def _tls(settings: WebhookSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.tls_ca_file is not None:
        try:
            context.load_verify_locations(settings.tls_ca_file)
        except OSError as error:
            raise SettingsError(
                f"webhooks.tls_ca_file: {settings.tls_ca_file} cannot be read: {error}"
            ) from error
    return context
