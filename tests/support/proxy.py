"""A TCP proxy that breaks connections: at once, for a while, or at a byte pattern."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from sentq.wire.lua import load_script

__all__ = ["QUEUE_DUE", "SCHEDULE", "TAKE", "Proxy", "Trap"]

#: Bytes of each request with which a sentq worker takes jobs: the digest of its script.
TAKE: Final = load_script("sentq_worker.broker", "take_messages").digest.encode()

#: The same for the script that schedules a job with an eta, and the one that queues due jobs.
SCHEDULE: Final = load_script("sentq_worker.broker", "schedule_message").digest.encode()
QUEUE_DUE: Final = load_script("sentq_worker.broker", "queue_due_messages").digest.encode()

#: Redis replies without a value.
_EMPTY: Final = (b"*0\r\n", b"*-1\r\n", b"$-1\r\n")

#: `SO_LINGER` with a time of 0 s: a close sends RST.
_LINGER_0_S: Final = struct.pack("ii", 1, 0)


@dataclass
class Trap:
    """A fault that occurs when a request contains `pattern`.

    Attributes:
        pattern: Bytes of a request.
        action: Called at a hit, before the connection is cut.
        on_reply: Whether the hit is at the reply to the request, unless the reply is empty. The
            reply is not forwarded.
        forward_first: Whether the request is forwarded before the action.
        times: The number of hits that have an effect.
        hits: The number of hits so far.
        tears: Whether the first half of the request or reply is forwarded.
    """

    pattern: bytes
    action: Callable[[], None] = lambda: None
    on_reply: bool = False
    forward_first: bool = False
    times: int = 1
    hits: int = 0
    tears: bool = False


class _Link:
    """A connection through the proxy: the client's side (near) and Redis' side (far)."""

    def __init__(self, near: socket.socket, far: socket.socket | None) -> None:
        self.near = near
        self.far = far
        self.is_frozen = far is None
        self.expects_reply = threading.Event()
        self._lock = threading.Lock()
        self._has_ended = False

    def end(self, *, reset: bool = False) -> None:
        """Close both sides, with FIN or with RST."""
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
        for each in (self.near, self.far):
            if each is None:
                continue
            with suppress(OSError):
                if reset:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0_S)
                # This wakes a blocked reader; only SHUT_RDWR also sends FIN.
                each.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            each.close()


class Proxy:
    """A proxy between a client and Redis, with its own port."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.trap: Trap | None = None
        #: The delay of each chunk of data, in seconds.
        self.delay_s = 0.0
        #: Whether new connections are accepted and all their data is discarded.
        self.swallows_new = False
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
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
        for link in list(self._links):
            link.end()

    def reset(self) -> None:
        """Cut all connections with RST, as a firewall or a crashed host does."""
        for link in list(self._links):
            link.end(reset=True)

    def freeze(self) -> None:
        """Make all connections half-open: they discard all data and never reply."""
        for link in list(self._links):
            link.is_frozen = True

    def _spawn(self, run: Callable[..., None], *args: object) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except OSError:
                continue
            try:
                swallows = self.swallows_new
                target = ("127.0.0.1", self._target_port)
                link = _Link(near, None if swallows else socket.create_connection(target))
            except OSError:
                near.close()
                continue
            self._links.add(link)
            self._spawn(self._requests, link)
            if link.far is not None:
                self._spawn(self._replies, link, link.far)

    def _requests(self, link: _Link) -> None:
        for data in self._chunks(link, link.near):
            trap = self.trap
            if trap and trap.pattern in data:
                if trap.on_reply:
                    link.expects_reply.set()
                elif self._hit(trap):
                    if trap.forward_first or trap.tears:
                        _send(link.far, _half(data) if trap.tears else data)
                    trap.action()
                    break
            _send(link.far, data)
        self._end(link, link.near)

    def _replies(self, link: _Link, far: socket.socket) -> None:
        for data in self._chunks(link, far):
            trap = self.trap
            if trap and link.expects_reply.is_set() and data not in _EMPTY:
                link.expects_reply.clear()
                if self._hit(trap):
                    if trap.tears:
                        _send(link.near, _half(data))
                    trap.action()
                    break
            link.expects_reply.clear()
            _send(link.near, data)
        self._end(link, far)

    def _chunks(self, link: _Link, connection: socket.socket) -> Iterator[bytes]:
        """Yield the data to forward, until the connection ends."""
        with suppress(OSError):
            while data := connection.recv(1 << 20):
                if self.delay_s:
                    time.sleep(self.delay_s)
                if not link.is_frozen:
                    yield data

    def _end(self, link: _Link, side: socket.socket) -> None:
        """Close a connection whose one side has ended; a half-open one keeps its other side."""
        if link.is_frozen and link.far is not None and not self._ended:
            side.close()
            return
        link.end()
        self._links.discard(link)

    def _hit(self, trap: Trap) -> bool:
        with self._lock:
            trap.hits += 1
            return trap.hits <= trap.times


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _send(connection: socket.socket | None, data: bytes) -> None:
    with suppress(OSError):
        if connection is not None:
            connection.sendall(data)
