"""Pages: templates that are filled on the server, and the headers of each response.

Jinja escapes what it fills in. No page has a script or a style of its own, so the policy below
permits files of the gateway alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from sentq.gateway.console.assets import asset_url
from sentq.gateway.console.visitors import Visitor, remember
from sentq.version import VERSION

__all__ = ["HEADERS", "HOME", "fragment", "page", "redirect"]

HOME: Final = "/console"

_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)

#: Of each response but files. With `no-referrer` a browser would send no origin with a form.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

#: What is shown for a value that is not known.
_NOTHING: Final = "\N{EN DASH}"

#: Units of durations: their seconds, their names, and below which durations they are used.
_UNITS: Final = (
    *((0.001, "ms", 0.9995), (1.0, "s", 60.0), (60.0, "min", 3600.0)),
    *((3600.0, "h", 86_400.0), (86_400.0, "d", float("inf"))),
)

#: From this value on, digits after the point are left out.
_WHOLE_FROM: Final = 9.95


def page(
    request: Request,
    visitor: Visitor | None,
    template: str,
    *,
    status: int = 200,
    **values: Any,
) -> HTMLResponse:
    """Return a whole page.

    Args:
        request: The request.
        visitor: Who sees it; None before a login.
        template: The name of the template.
        status: The status of the response.
        values: What the template is filled with.
    """
    response = HTMLResponse(
        fragment(template, visitor=visitor, path=request.url.path, **values),
        status,
        HEADERS,
    )
    if visitor is not None:
        remember(visitor, request, response)
    return response


def fragment(template: str, **values: Any) -> str:
    """Return a template that is filled with values."""
    return _ENVIRONMENT.get_template(template).render(**values)


def redirect(path: str) -> RedirectResponse:
    """Return the response that leads to another page of the console."""
    return RedirectResponse(path, 303, HEADERS)


def _duration(seconds: float | None) -> str:
    """Return a duration in two or three digits, and its unit."""
    if seconds is None:
        return _NOTHING
    if seconds == 0:
        return "0 s"
    unit_s, unit = next((unit_s, unit) for unit_s, unit, below_s in _UNITS if seconds < below_s)
    return f"{_rounded(seconds / unit_s, whole_from=_WHOLE_FROM)} {unit}"


def _number(value: float | None) -> str:
    """Return a number with separators; one digit after the point of small ones."""
    if value is None:
        return _NOTHING
    return f"{value:,}" if isinstance(value, int) else _rounded(value, whole_from=10 * _WHOLE_FROM)


def _rounded(value: float, *, whole_from: float) -> str:
    return f"{value:,.0f}" if value >= whole_from or value == 0 else f"{value:,.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sentq.gateway.console"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "duration": _duration,
        "number": _number,
        "percent": _percent,
        "time": _time,
    }
    environment.globals |= {"asset": asset_url, "home": HOME, "version": VERSION}
    return environment


_ENVIRONMENT: Final = _environment()
