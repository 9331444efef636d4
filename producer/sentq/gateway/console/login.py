"""Log in with a key of the gateway, and log out."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sentq.gateway.console.audit import record_action
from sentq.gateway.console.forms import FormOf, read_fields
from sentq.gateway.console.pages import HOME, page, redirect
from sentq.gateway.console.sessions import SessionStore
from sentq.gateway.console.visitors import SignedIn, Visitor, forget, remember
from sentq.gateway.keys.admission import verified_key
from sentq.gateway.keys.records import KeyScope
from sentq.gateway.services import Services

__all__ = ["PATH", "add_to"]

PATH: Final = f"{HOME}/login"


async def show_login(request: Request) -> Response:
    """Show the form of the login."""
    return page(request, None, "login.html", problem="")


async def log_in(request: Request, services: Services) -> Response:
    """Begin a session of a key."""
    fields = await read_fields(request, services)
    record = await verified_key(services, fields.text("key").strip())
    if record is None:
        problem = "This key is not valid, or was revoked."
        return page(request, None, "login.html", status=403, problem=problem)
    if not record.may(KeyScope.READ):
        problem = "This key has not the scope “read”, which the console needs."
        return page(request, None, "login.html", status=403, problem=problem)
    token = await SessionStore(services.client).begin(record.id)
    visitor = Visitor(token, record, is_new=True)
    await record_action(services.client, visitor, "log in")
    response = redirect(HOME)
    remember(visitor, request, response)
    return response


async def log_out(services: Services, visitor: SignedIn, _fields: FormOf) -> Response:
    """End the session."""
    await SessionStore(services.client).end(visitor.token)
    response = redirect(PATH)
    forget(response)
    return response


def add_to(router: APIRouter) -> None:
    """Add the pages to a router."""
    router.get("/login")(show_login)
    router.post("/login")(log_in)
    router.post("/logout")(log_out)
