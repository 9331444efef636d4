"""A receiver of webhooks: a real HTTP or HTTPS server on loopback that records requests."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

import orjson

from tests.support.tls.certificates import Certificate

__all__ = ["ReceivedWebhook", "ReceiverReply", "WebhookReceiver"]

_CHUNK: Final = b"x" * 65_536


@dataclass(frozen=True, slots=True)
class ReceivedWebhook:
    """A request that came.

    Attributes:
        path: Path and query.
        headers: The headers, with names in lower case.
        body: The body.
        at_s: When it came, in Unix seconds.
    """

    path: str
    headers: Mapping[str, str]
    body: bytes
    at_s: float

    @property
    def id(self) -> str:
        """The id of the webhook."""
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        """The body."""
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class ReceiverReply:
    """What is answered.

    Attributes:
        status: The status.
        headers: The headers.
        body_chunks: How many chunks of 64 KiB the body has; each is sent by itself.
        delay_s: How long it takes until the response begins, in seconds.
        drips: Whether the head of the response is sent byte by byte, ten a second.
        hangs: Whether the body is never sent.
    """

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body_chunks: int = 0
    delay_s: float = 0.0
    drips: bool = False
    hangs: bool = False


class WebhookReceiver:
    """A server. Requests are answered by threads.

    Args:
        host: The address to listen on.
        certificate: Speak TLS with it.
        answer: Decides what is answered; without it, 204.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: Certificate | None = None,
        answer: Callable[[ReceivedWebhook], ReceiverReply] | None = None,
    ) -> None:
        self.requests: list[ReceivedWebhook] = []
        #: How many connections were opened.
        self.connections = 0
        #: How many bytes of bodies were sent.
        self.sent_bytes = 0
        #: The most requests that were answered at the same time.
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.answer = answer or (lambda _: ReceiverReply())
        self._server = _RecordingServer((host, port), _handler(self))
        self._server.receiver = self
        self.scheme = "http"
        if certificate is not None:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            self._server.context = context
        self.host = host
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def url(self, path: str = "/hook", *, host: str | None = None) -> str:
        """Return a URL of it."""
        return f"{self.scheme}://{host or self.host}:{self.port}{path}"

    @property
    def origin(self) -> str:
        """Its scheme, host and port, as `webhooks.hosts` has them."""
        return self.url("")

    def ids(self) -> list[str]:
        """Return the ids of the webhooks that came, in order."""
        return [each.id for each in list(self.requests)]

    def handle(self, request: ReceivedWebhook) -> ReceiverReply:
        """Record a request, and return what is answered."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.requests.append(request)
        try:
            reply = self.answer(request)
            time.sleep(reply.delay_s)
            return reply
        finally:
            with self._lock:
                self._at_once -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _RecordingServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    context: ssl.SSLContext | None = None
    receiver: WebhookReceiver

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection in its thread, so that no handshake delays others."""
        self.receiver.connections += 1
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that end a connection: tests look at what they did."""


def _handler(receiver: WebhookReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = receiver.handle(ReceivedWebhook(self.path, headers, body, time.time()))
            lines = [f"HTTP/1.1 {reply.status} Reason"]
            lines += [f"{name}: {value}" for name, value in reply.headers.items()]
            lines += [f"content-length: {reply.body_chunks * len(_CHUNK)}", "connection: close"]
            head = "\r\n".join([*lines, "", ""]).encode()
            if reply.drips:
                for byte in head:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.1)
            else:
                self.wfile.write(head)
            if reply.hangs:
                time.sleep(30)
            for _ in range(reply.body_chunks):
                self.wfile.write(_CHUNK)
                receiver.sent_bytes += len(_CHUNK)

        def log_message(self, *args: object) -> None:
            """Write no log."""

    return Handler
