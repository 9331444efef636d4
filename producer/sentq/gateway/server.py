"""Run a gateway under uvicorn until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from importlib.util import find_spec
from types import FrameType
from typing import Final, Literal

import uvicorn

from sentq.errors import SettingsError
from sentq.gateway.app import make_gateway
from sentq.gateway.closing import Closing
from sentq.gateway.settings import GatewaySettings
from sentq.settings import Settings
from sentq.webhooks.settings import WebhookSettings

__all__ = ["GatewayServer"]

logger = logging.getLogger(__name__)

#: How many connections the system keeps until they are accepted.
_BACKLOG: Final = 1024

#: How long a connection may be idle between two requests, in seconds.
_KEEP_ALIVE_S: Final = 30

#: How many files a gateway needs beside its connections: those to Redis and to receivers of
#: webhooks, modules, and connections that it refuses.
_OTHER_FILES: Final = 256


class GatewayServer:
    """A gateway that listens.

    Args:
        settings: The settings shared with clients and workers.
        gateway: The settings of the gateway.
        webhooks: The settings of webhooks; None for none.

    Raises:
        SettingsError: It is not possible to listen there, or webhooks cannot be delivered. The
            message says why.

    Attributes:
        url: The address that was opened, without a path.
    """

    def __init__(
        self, settings: Settings, gateway: GatewaySettings, webhooks: WebhookSettings | None = None
    ) -> None:
        closing = Closing()
        self._most_connections = gateway.max_connections
        config = uvicorn.Config(
            make_gateway(settings, gateway, closing, webhooks),
            access_log=False,
            backlog=_BACKLOG,
            date_header=True,
            http=_protocol(),
            limit_concurrency=gateway.max_connections,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=round(gateway.shutdown_grace_s),
            timeout_keep_alive=_KEEP_ALIVE_S,
            ws="none",
        )
        self._socket = _listen(gateway.host, gateway.port)
        self._server = _StoppableServer(config, closing)
        host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
        self.url = f"http://{host}:{self._socket.getsockname()[1]}"

    def serve(self) -> None:
        """Serve until SIGTERM or Ctrl-C, and until requests in flight have ended."""
        # The server raises the signal again when it has ended.
        before = {each: signal.signal(each, _ignore) for each in (signal.SIGINT, signal.SIGTERM)}
        _permit_files(self._most_connections + _OTHER_FILES)
        try:
            with self._socket:
                self._server.run(sockets=[self._socket])
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


class _StoppableServer(uvicorn.Server):
    """Tells the application as soon as the server ends."""

    def __init__(self, config: uvicorn.Config, closing: Closing) -> None:
        super().__init__(config)
        self._closing = closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and let no garbage collection go through all that was imported: some 80 ms."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests end that wait, then the server."""
        self._closing.begin()
        await super().shutdown(sockets)


def _protocol() -> type[asyncio.Protocol] | Literal["h11"]:
    """Return a protocol that bounds the heads of requests. That of h11 does so by itself, in bytes;
    it is slower."""
    if find_spec("httptools") is None:
        return "h11"
    from sentq.gateway.protocol import BoundedHttpProtocol

    return BoundedHttpProtocol


def _permit_files(count: int) -> None:
    """Let this process open so many files, as far as the system permits it: many systems begin with
    1,024, fewer than the connections of a gateway."""
    if find_spec("resource") is None:
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    permitted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < permitted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (permitted, hard))
    if permitted < count:
        logger.warning(
            "the system permits %d open files: too few for max_connections, which needs %d",
            permitted,
            count,
        )


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing."""


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            # The address is printed before the server accepts: who reads it is not refused.
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"cannot listen on port {port} of {host}: {error.strerror or error}"
        ) from error
    return listening
