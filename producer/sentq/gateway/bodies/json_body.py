"""A body that is one JSON document, checked by a model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from sentq.contract import MAX_TEXTS_PER_JOB, Limits, check_count
from sentq.gateway.bodies.incoming import IncomingBody
from sentq.gateway.errors import InvalidRequest, MalformedRequest, UnsupportedBody
from sentq.gateway.services import services_of

__all__ = ["JSON_TYPES", "json_body", "wrong_values"]

#: What a body of JSON may call itself. Browsers send none of these to another origin unasked.
JSON_TYPES: Final = ("application/json",)

M = TypeVar("M", bound=BaseModel)

#: How many wrong values a response lists.
_MOST_ERRORS: Final = 20

#: How many members a body may have, also unknown ones.
_MOST_MEMBERS: Final = 100


def json_body(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """Return a dependency that reads the body and returns it as this model.

    Raises, from the dependency:
        UnsupportedBody: It is not called JSON.
        MalformedRequest: It is not JSON.
        InvalidRequest: It does not fit the model.
        TooManyTexts: It has more texts than any job.
        BodyTooLarge, BodyTooSlow: As `IncomingBody.read` does.
    """

    async def read(request: Request) -> M:
        settings = services_of(request).settings
        check_type(request, JSON_TYPES)
        body = IncomingBody(request, timeout_s=settings.body_timeout_s)
        return _validated(model, await body.read(settings.max_body_bytes))

    return read


def check_type(request: Request, types: tuple[str, ...]) -> str:
    """Return the media type of the body, without parameters.

    Raises:
        UnsupportedBody: It is another one.
    """
    named = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if named not in types:
        raise UnsupportedBody(f"send the body with Content-Type: {' or '.join(types)}")
    return named


def _validated(model: type[M], body: bytes) -> M:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: see character {error.pos}") from None
    _check_size(document)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        fields = ", ".join(model.model_fields)
        raise InvalidRequest(
            f"the body is not what this operation takes; its members are: {fields}",
            wrong_values(error.errors(include_url=False, include_input=False), model),
        ) from None


def _check_size(document: object) -> None:
    """Refuse a document in which so much may be wrong that pydantic would list it for seconds, and
    need a kilobyte for each wrong value.

    Raises:
        InvalidRequest: It has too many members.
        TooManyTexts: It has too many texts.
    """
    if not isinstance(document, dict):
        return
    if len(document) > _MOST_MEMBERS:
        raise InvalidRequest(f"the body has more than {_MOST_MEMBERS} members")
    texts = document.get("texts")
    if isinstance(texts, list) and len(texts) > MAX_TEXTS_PER_JOB:
        check_count(len(texts), Limits())


def wrong_values(errors: Sequence[ErrorDetails], model: type[BaseModel]) -> list[dict[str, str]]:
    """Return where values are wrong and what is wrong, without anything that was sent.

    Args:
        errors: The errors of pydantic.
        model: The model. What is called otherwise may be anything, and is not named.
    """
    found: dict[tuple[str, str], None] = {}
    for error in errors:
        first, *rest = error["loc"] or ("",)
        places = [str(each) for each in rest if type(each) is int]
        where = "/".join(["", str(first), *places]) if first in model.model_fields else ""
        found[where, str(error["msg"])] = None
    return [{"where": where, "what": what} for where, what in list(found)[:_MOST_ERRORS]]
