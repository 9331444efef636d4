"""A TCP proxy that breaks connections where it is told to: at a byte pattern, either way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

__all__ = ["Proxy", "Trap"]


#: Replies that bring nothing.
_EMPTY = (b"*0\r\n", b"*-1\r\n", b"$-1\r\n")


@dataclass
class Trap:
    """What to do when `pattern` passes.

    `pattern` is looked for in requests. The trap springs at the request, or (`on_reply`) at the
    reply to it that is not empty. `forward_first` lets the request through before; a reply is
    always kept back. Each of the first `times` hits calls the action and cuts the connection.
    """

    pattern: bytes
    action: Callable[[], None] = lambda: None
    on_reply: bool = False
    forward_first: bool = False
    times: int = 1
    hits: int = 0


class Proxy:
    """Stands between a worker and Redis, on a port of its own."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.trap: Trap | None = None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._ended = False
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def cut(self) -> None:
        """Cut all connections."""
        for each in list(self._open):
            _cut(each)

    def _spawn(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                if self._ended:
                    return
                with suppress(OSError, UnboundLocalError):
                    near.close()
                continue
            self._open |= {near, far}
            asked = threading.Event()
            self._spawn(self._requests, near, far, asked)
            self._spawn(self._replies, far, near, asked)

    def _requests(self, near: socket.socket, far: socket.socket, asked: threading.Event) -> None:
        for data in _chunks(near):
            trap = self.trap
            if trap and trap.pattern in data:
                if trap.on_reply:
                    asked.set()
                elif self._hit(trap):
                    if trap.forward_first:
                        _send(far, data)
                    trap.action()
                    break
            _send(far, data)
        _cut(near)
        _cut(far)

    def _replies(self, far: socket.socket, near: socket.socket, asked: threading.Event) -> None:
        for data in _chunks(far):
            trap = self.trap
            if trap and asked.is_set() and data not in _EMPTY:
                asked.clear()
                if self._hit(trap):
                    trap.action()
                    break
            asked.clear()
            _send(near, data)
        _cut(near)
        _cut(far)

    def _hit(self, trap: Trap) -> bool:
        with self._lock:
            trap.hits += 1
            return trap.hits <= trap.times


def _chunks(connection: socket.socket) -> Iterator[bytes]:
    """What arrives, until the connection ends."""
    with suppress(OSError):
        while data := connection.recv(1 << 20):
            yield data


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        connection.sendall(data)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
