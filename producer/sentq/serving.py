"""A small HTTP server for metrics and probes, in threads of its own.

It answers GET and HEAD for a few fixed paths, reads no body, and keeps no connection. What it
costs is bounded: few connections at once, each for some seconds. It has no login and no TLS; it is
for loopback, or for a network that only monitoring reaches.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, socket
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from sentq.errors import SettingsError

__all__ = ["JSON", "TEXT", "Page", "PageServer"]

logger = logging.getLogger(__name__)

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"

#: The most connections at once; further ones are closed unanswered.
_MAX_CONNECTIONS: Final = 16

#: How long a client may be silent while it sends a request, in seconds.
_TIMEOUT_S: Final = 2.0


class Page(NamedTuple):
    """An answer."""

    body: bytes
    content_type: str = TEXT
    status: HTTPStatus = HTTPStatus.OK


class PageServer:
    """Serves pages until it is stopped.

    Args:
        host: The address to listen on.
        port: The port; 0 chooses a free one.
        pages: What makes the page of each path. Several threads call it.

    Raises:
        SettingsError: It is not possible to listen there. The message says why.
    """

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._host = host
        try:
            self._server = _PageHttpServer(host, port, pages)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on port {port} of {host}: {error.strerror or error}"
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="sentq-http", daemon=True
        )

    @property
    def url(self) -> str:
        """The address that was opened, without a path."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def serve(self) -> None:
        """Serve in this thread, until `stop` is called in another one, or an exception."""
        self._server.serve_forever()

    def stop(self) -> None:
        """Close the port."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _PageHttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[], Page]]) -> None:
        self.address_family = AF_INET6 if ":" in host else AF_INET
        self.pages = pages
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        super().__init__((host, port), _PageHandler)

    def process_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self, request: socket | tuple[bytes, socket], client_address: Any
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that ends a connection early is no error."""


class _PageHandler(BaseHTTPRequestHandler):
    server: _PageHttpServer
    server_version = "sentq"
    sys_version = ""
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base
        """Log no request."""

    def _answer(self, *, with_body: bool) -> None:
        page = self._page()
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(page.body)

    def _page(self) -> Page:
        make = self.server.pages.get(urlsplit(self.path).path)
        if make is None:
            paths = "\n".join(self.server.pages)
            return Page(f"there is no such page; there are:\n{paths}\n".encode(), TEXT, _NOT_FOUND)
        try:
            return make()
        except Exception as error:
            logger.exception("a page cannot be made")
            return Page(f"{type(error).__name__}\n".encode(), TEXT, _FAILED)


_NOT_FOUND: Final = HTTPStatus.NOT_FOUND
_FAILED: Final = HTTPStatus.INTERNAL_SERVER_ERROR
