"""The application: its routes, and what surrounds them.

server ─▶ RequestFrame ─▶ CORS, gzip ─▶ routes ─▶ handlers of errors
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from sentq.gateway.client import GatewayClient
from sentq.gateway.closing import Closing
from sentq.gateway.console.router import router as console
from sentq.gateway.middleware import REQUEST_ID_HEADER, RequestFrame
from sentq.gateway.openapi import make_document
from sentq.gateway.problems import HANDLERS
from sentq.gateway.routes import batches, events, jobs, score, status
from sentq.gateway.services import GatewayServices
from sentq.gateway.settings import GatewaySettings
from sentq.settings import Settings
from sentq.version import VERSION
from sentq.webhooks.admission import WebhookAdmission
from sentq.webhooks.running import delivering, make_deliverer
from sentq.webhooks.settings import WebhookSettings

__all__ = ["make_gateway"]

#: Smaller responses are sent as they are.
_GZIP_FROM_BYTES: Final = 1024
_GZIP_LEVEL: Final = 4

_ROUTERS: Final = (score.router, jobs.router, events.router, batches.router, status.router)

_DESCRIPTION: Final = """\
Score the sentiment of texts with sentq workers.

Errors are problem details (RFC 9457) with a type for each cause.
"""


def make_gateway(
    settings: Settings,
    gateway: GatewaySettings,
    closing: Closing,
    webhooks: WebhookSettings | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        settings: The settings shared with clients and workers.
        gateway: The settings of the gateway.
        closing: Is begun by the server when it ends.
        webhooks: The settings of webhooks; without them, or a secret in them, there are none.

    Raises:
        SettingsError: Webhooks cannot be delivered with these settings.
    """
    is_elsewhere = not gateway.delivers_webhooks
    admission = WebhookAdmission(webhooks, is_delivered_elsewhere=is_elsewhere)
    deliverer = None
    if webhooks is not None and webhooks.is_enabled and not is_elsewhere:
        deliverer = make_deliverer(settings, webhooks)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with (
            GatewayClient(settings) as client,
            delivering(deliverer, grace_s=gateway.shutdown_grace_s),
        ):
            yield {"gateway": GatewayServices(client, gateway, closing, admission)}

    app = _Gateway(
        title="sentq",
        version=VERSION,
        summary="Sentiment scoring in the background",
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        exception_handlers=HANDLERS,
        middleware=_middleware(gateway),
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (*_ROUTERS, console):
        app.include_router(router)
    return app


class _Gateway(FastAPI):
    """The application, with its own document of OpenAPI."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        if self.openapi_schema is None:
            self.openapi_schema = make_document(self)
        return self.openapi_schema


def _middleware(gateway: GatewaySettings) -> list[Middleware]:
    found = [Middleware(RequestFrame)]
    if gateway.cors_origins:
        found.append(
            Middleware(
                CORSMiddleware,
                allow_origins=gateway.cors_origins,
                allow_methods=("GET", "POST", "DELETE"),
                allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "Prefer"),
                expose_headers=("Location", "Retry-After", "Preference-Applied", REQUEST_ID_HEADER),
            )
        )
    gzip = Middleware(GZipMiddleware, minimum_size=_GZIP_FROM_BYTES, compresslevel=_GZIP_LEVEL)
    return [*found, gzip]
