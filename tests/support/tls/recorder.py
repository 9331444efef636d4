"""A TLS server in front of a Redis, which records what its clients send after the handshake."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from types import TracebackType
from typing import Self

from tests.support.tls.certificates import Certificate

__all__ = ["TlsRecorder"]


class TlsRecorder:
    """Decrypts, records and forwards. A context.

    Attributes:
        received: All bytes that clients have sent inside TLS.
        connections: How many connections clients have opened.

    Args:
        certificate: What the server shows.
        redis_port: The port to forward to.
        port: The port to listen on; 0 takes a free one.
    """

    def __init__(self, certificate: Certificate, redis_port: int, *, port: int = 0) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.certificate, certificate.key)
        self._redis_port = redis_port
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.received = bytearray()
        self.connections = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # It wakes the thread that accepts.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=[plain], daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        # OSError: the client has refused the certificate, or closed the connection.
        with contextlib.suppress(OSError):
            plain.settimeout(30)
            with (
                self._context.wrap_socket(plain, server_side=True) as client,
                socket.create_connection(("127.0.0.1", self._redis_port)) as server,
            ):
                back = threading.Thread(target=_forward, args=[server, client], daemon=True)
                back.start()
                while data := client.recv(65536):
                    self.received += data
                    server.sendall(data)


def _forward(source: socket.socket, target: socket.socket) -> None:
    """Forward until one side closes, and then close the other one."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
