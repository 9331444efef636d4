"""Who sees the console: a dependency of each page.

A visitor logs in with a key of the gateway, which must have the scope `read`. It may act on what
other keys have sent if the key has the scope `admin`. A gateway without keys is open to its
machine, and so is its console: the cookie then only ties forms to the browser that has got them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from sentq.gateway.console.sessions import SESSION_S, SessionStore, form_token, new_token
from sentq.gateway.errors import Forbidden, Unauthorized
from sentq.gateway.keys.admission import caller_without_key
from sentq.gateway.keys.limits import RateLimits
from sentq.gateway.keys.records import KeyRecord, KeyScope
from sentq.gateway.keys.store import KeyStore
from sentq.gateway.services import GatewayServices, Services

__all__ = ["COOKIE", "Admin", "SignedIn", "Visitor", "forget", "remember", "signed_in"]

COOKIE: Final = "sentq_console"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sees a page.

    Attributes:
        token: The token of the session.
        record: What is kept of the key; None in an open gateway.
        is_new: Whether the browser does not have the token yet.
    """

    token: str
    record: KeyRecord | None = None
    is_new: bool = False

    @property
    def key_id(self) -> str:
        """The id of the key; empty in an open gateway."""
        return "" if self.record is None else self.record.id

    @property
    def name(self) -> str:
        """What the pages call the visitor."""
        return "no key" if self.record is None else self.record.name

    @property
    def is_admin(self) -> bool:
        """Whether the visitor may act on what all keys have sent."""
        return self.record is None or self.record.may(KeyScope.ADMIN)

    @property
    def may_submit(self) -> bool:
        """Whether the visitor may have texts scored."""
        return self.record is None or self.record.may(KeyScope.SUBMIT)

    @property
    def form_token(self) -> str:
        """What each form of the visitor holds."""
        return form_token(self.token)

    async def take_text(self, services: GatewayServices, text: str) -> None:
        """Count a request with a text against the limits of the key.

        Raises:
            RateLimited: There were too many.
        """
        if self.record is not None:
            limits = RateLimits(services.client, self.record)
            await limits.take_request()
            await limits.take_texts([text])


async def signed_in(request: Request, services: Services) -> Visitor:
    """Return who sends a request.

    Raises:
        Unauthorized: There is no session, or its key was revoked.
        MisdirectedRequest: The gateway has no keys, and the request names another host.
    """
    token = request.cookies.get(COOKIE, "")
    key_id = await SessionStore(services.client).find(token) if token else None
    if key_id is None:
        await caller_without_key(request, services)
        return Visitor(token or new_token(), is_new=not token)
    record = await KeyStore(services.client).find(key_id)
    if record is None or record.revoked_s is not None:
        raise Unauthorized("the key of this session is not valid any more")
    request.state.key_id = record.id
    return Visitor(token, record)


SignedIn = Annotated[Visitor, Depends(signed_in)]


async def _admin(visitor: SignedIn) -> Visitor:
    if not visitor.is_admin:
        raise Forbidden("this needs a key with the scope admin")
    return visitor


#: A visitor who may act on what all keys have sent.
Admin = Annotated[Visitor, Depends(_admin)]


def remember(visitor: Visitor, request: Request, response: Response) -> None:
    """Give the browser the token of its session, unless it has it. The cookie is for HTTPS alone if
    the page came by HTTPS: a proxy ends TLS, and the browser tells the scheme."""
    if visitor.is_new:
        origin = request.headers.get("Origin", "")
        response.set_cookie(
            COOKIE,
            visitor.token,
            max_age=SESSION_S,
            path="/console",
            secure=urlsplit(origin).scheme == "https",
            httponly=True,
            samesite="strict",
        )


def forget(response: Response) -> None:
    """Let the browser forget its session."""
    response.delete_cookie(COOKIE, path="/console", httponly=True, samesite="strict")
