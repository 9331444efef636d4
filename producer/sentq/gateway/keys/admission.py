"""Who sends a request, and whether the operation is allowed: a dependency of each operation.

Without any key in Redis a gateway on a loopback address is open: each program of the machine may do
everything. Such a gateway answers for names of the machine only, so that a page of the internet
whose name suddenly leads to this machine (DNS rebinding) gets nothing from a browser.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from sentq.gateway.errors import Forbidden, MisdirectedRequest, Unauthorized
from sentq.gateway.keys.limits import RateLimits
from sentq.gateway.keys.records import KeyRecord, KeyScope, id_in
from sentq.gateway.keys.store import KeyStore
from sentq.gateway.services import GatewayServices, services_of
from sentq.gateway.settings import is_loopback

__all__ = ["Caller", "Reader", "Sender", "caller_without_key", "verified_key"]

_BEARER: Final = HTTPBearer(
    scheme_name="key", auto_error=False, description="A key of `sentq gateway keys create`."
)

_HOW: Final = "send a key: Authorization: Bearer sentq_… (`sentq gateway keys create`)"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    Attributes:
        key_id: The id of its key; empty in an open gateway.
        is_admin: Whether it may read the jobs of all keys.
        limits: What it may send; None for no limits.
    """

    key_id: str
    is_admin: bool
    limits: RateLimits | None = None

    async def take_texts(self, texts: str | Iterable[str]) -> None:
        """Count texts against the limits of the key.

        Raises:
            RateLimited: There were too many.
        """
        if self.limits is not None:
            await self.limits.take_texts([texts] if isinstance(texts, str) else texts)


async def verified_key(services: GatewayServices, key: str) -> KeyRecord | None:
    """Return the record of a key; None if it is not valid."""
    key_id = id_in(key)
    record = None if key_id is None else await KeyStore(services.client).find(key_id)
    return record if record is not None and record.is_proven_by(key) else None


def _caller_with(scope: KeyScope) -> Callable[..., Awaitable[Caller]]:
    """Return the dependency of operations that need a scope.

    Raises, from the dependency:
        Unauthorized: There is no valid key.
        Forbidden: The key does not have the scope.
        RateLimited: The key has sent too many requests.
        MisdirectedRequest: The request names another host than the machine.
    """

    async def admit(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    ) -> Caller:
        services = services_of(request)
        if credentials is None:
            return await caller_without_key(request, services)
        record = await verified_key(services, credentials.credentials)
        if record is None:
            raise Unauthorized(f"the key is not valid, or was revoked; {_HOW}")
        if not record.may(scope):
            raise Forbidden(f"the key has not the scope {scope}")
        limits = RateLimits(services.client, record)
        # The middleware adds the headers to the response, and the id to the log.
        request.state.headers, request.state.key_id = limits.headers, record.id
        await limits.take_request()
        return Caller(record.id, record.may(KeyScope.ADMIN), limits)

    return admit


async def caller_without_key(request: Request, services: GatewayServices) -> Caller:
    """Return who sends a request without a key, to an open gateway.

    Raises:
        Unauthorized: There are keys, or others than the machine reach the gateway.
        MisdirectedRequest: The request names another host than the machine.
    """
    if not services.settings.is_on_loopback or not await KeyStore(services.client).is_empty():
        raise Unauthorized(_HOW)
    if not _names_this_machine(request.headers.get("host", "")):
        raise MisdirectedRequest(
            "a gateway without keys answers for localhost, 127.0.0.1 and [::1] only: make a key "
            "(`sentq gateway keys create`), or use one of these names"
        )
    return Caller(key_id="", is_admin=True)


def _names_this_machine(host: str) -> bool:
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


#: The caller of an operation that sends, and of one that reads.
Sender = Annotated[Caller, Depends(_caller_with(KeyScope.SUBMIT))]
Reader = Annotated[Caller, Depends(_caller_with(KeyScope.READ))]
