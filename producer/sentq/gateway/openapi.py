"""The document of OpenAPI: what FastAPI finds, bodies that the gateway reads itself, and problems.

`docs/openapi.json` is this document. A test compares them.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sentq.contrib.problems import MEDIA_TYPE
from sentq.gateway.documents import JobBody, ProblemDocument, ScoreBody

__all__ = ["OF_CALLER", "body_of", "make_document", "problems", "upload_of", "with_headers"]

#: The statuses of requests that are refused because of who sends them.
OF_CALLER: Final = (401, 403, 421, 429)

_COMPONENTS: Final = "#/components/schemas/{model}"

#: The models of bodies, and those that only responses name which FastAPI does not check.
_MODELS: Final[tuple[type[BaseModel], ...]] = (ScoreBody, JobBody, ProblemDocument)

_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Location": {
        "description": "Where to ask for the job or the batch.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "In how many seconds to ask again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Prefer": {
        "description": "The preference that was followed.",
        "schema": {"type": "string"},
    },
}

#: The headers of responses that have another name than in `_HEADERS`.
_NAMES: Final = {"Prefer": "Preference-Applied"}

_PROBLEMS: Final = {
    400: "The request cannot be read",
    401: "A valid key is needed",
    403: "The key may not do this",
    404: "There is no such job, batch or page",
    408: "The body took too long",
    409: "The same request is in progress, or the job or batch is in another state",
    410: "The job or batch has expired",
    413: "The body is too large",
    415: "The type of the body is not supported",
    421: "A gateway without keys answers for names of this machine only",
    422: "The request is not valid, or breaks a limit of the contract",
    429: "The key has reached its limit",
    500: "The service failed",
    502: "A worker failed",
    503: "The service has no capacity now, or Redis is not available",
}

#: The statuses of responses that say when to try again.
_WITH_RETRY: Final = (409, 429, 503)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an operation that may answer with these statuses."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": _PROBLEMS.get(status, HTTPStatus(status).phrase),
        "content": {MEDIA_TYPE: {"schema": _reference(ProblemDocument)}},
    }
    if status in _WITH_RETRY:
        described["headers"] = {"Retry-After": _HEADERS["Retry-After"]}
    return described


def with_headers(description: str, *headers: str) -> dict[str, Any]:
    """Return the description of a response that has these headers."""
    named = {_NAMES.get(name, name): _HEADERS[name] for name in headers}
    return {"description": description, "headers": named}


def upload_of(*media_types: str) -> dict[str, Any]:
    """Return the description of a body of any size."""
    content = {each: {"schema": {"type": "string"}} for each in media_types}
    return {"requestBody": {"required": True, "content": content}}


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the description of a body that an operation reads itself."""
    content = {"application/json": {"schema": _reference(model)}}
    return {"requestBody": {"required": True, "content": content}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _COMPONENTS.format(model=model.__name__)}


def make_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        license_info=app.license_info,
    )
    _, definitions = models_json_schema(
        [
            (model, "serialization" if model is ProblemDocument else "validation")
            for model in _MODELS
        ],
        ref_template=_COMPONENTS,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= {name: each for name, each in definitions["$defs"].items() if name not in schemas}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for schema in schemas.values():
        # What follows is for readers of the code.
        schema["description"] = schema.get("description", "").partition("\n\n")[0]
    for operations in document["paths"].values():
        for operation in operations.values():
            # FastAPI's own, for parameters that take every value.
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    return document
