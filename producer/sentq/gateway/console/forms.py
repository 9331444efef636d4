"""What a form sends: its fields, once it is certain that a page of the console has sent it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import Depends
from starlette.requests import Request

from sentq.gateway.bodies.incoming import IncomingBody
from sentq.gateway.console.sessions import is_form_token
from sentq.gateway.console.visitors import SignedIn, Visitor
from sentq.gateway.errors import Forbidden, MalformedRequest
from sentq.gateway.services import GatewayServices, Services

__all__ = ["TOKEN_FIELD", "Fields", "FormOf", "read_fields"]

#: The field of the token.
TOKEN_FIELD: Final = "form_token"  # noqa: S105 - its name

_MAX_FIELDS: Final = 1000


class Fields:
    """The fields of a form.

    Args:
        values: The values of each field.
    """

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """Return the value of a field; empty without one."""
        return next(iter(self._values.get(name, ())), "")

    def texts(self, name: str) -> list[str]:
        """Return all values of a field."""
        return list(self._values.get(name, ()))


async def read_fields(request: Request, services: GatewayServices) -> Fields:
    """Read a form that another site may have sent.

    Raises:
        Forbidden: The browser says that a page of another site has sent it.
        MalformedRequest: It is no form.
        BodyTooLarge, BodyTooSlow: As for other bodies.
    """
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Forbidden("forms of other sites are not accepted")
    settings = services.settings
    body = IncomingBody(request, timeout_s=settings.body_timeout_s)
    content = await body.read(settings.max_body_bytes)
    try:
        values = parse_qs(content.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise MalformedRequest("the body is no form") from None
    return Fields(values)


async def _form(request: Request, services: Services, visitor: SignedIn) -> Fields:
    fields = await read_fields(request, services)
    _check_token(fields, visitor)
    return fields


def _check_token(fields: Fields, visitor: Visitor) -> None:
    if not is_form_token(fields.text(TOKEN_FIELD), visitor.token):
        raise Forbidden("the form is not of this session: load the page again, and repeat it")


#: The fields of a form of the visitor's session.
FormOf = Annotated[Fields, Depends(_form)]
