"""Files of the console: styles, scripts and an icon. They are the same for all visitors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import resources
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from sentq.gateway.errors import PageNotFound

__all__ = ["PATH", "asset", "asset_url"]

PATH: Final = "/console/static/"

_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class _Asset(NamedTuple):
    """A file.

    Attributes:
        content: Its bytes.
        digest: The beginning of their SHA-256.
        media_type: Its type.
    """

    content: bytes
    digest: str
    media_type: str


def _read() -> Iterator[tuple[str, _Asset]]:
    for file in resources.files("sentq.gateway.console").joinpath("static").iterdir():
        _, dot, ending = file.name.rpartition(".")
        if media_type := _MEDIA_TYPES.get(dot + ending):
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            yield file.name, _Asset(content, digest, media_type)


#: Read once: they do not change while the process runs.
_ASSETS: Final = dict(_read())


def asset_url(name: str) -> str:
    """Return where a browser gets a file. The address changes with the content.

    Raises:
        KeyError: There is no such file.
    """
    return f"{PATH}{name}?{_ASSETS[name].digest}"


async def asset(request: Request) -> Response:
    """Return a file. Browsers keep it: a new one has a new address.

    Raises:
        PageNotFound: There is no such file.
    """
    found = _ASSETS.get(request.path_params["name"])
    if found is None:
        raise PageNotFound("there is no such file")
    is_current = request.url.query == found.digest
    return Response(
        found.content,
        headers={
            "Cache-Control": "max-age=31536000, immutable" if is_current else "no-cache",
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        },
        media_type=found.media_type,
    )
