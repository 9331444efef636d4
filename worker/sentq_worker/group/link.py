"""The connection of a parent and one of its children: a pair of sockets that the child inherits.

    parent -> child   ask <number> <page>\\n          wants /metrics, /livez or /readyz
                      end <signal> <times>\\n         the parent has received a signal so many times
    child -> parent   <number> <status> <length>\\n and the page

A child whose end of the connection is closed has lost its parent, and ends. Signals are passed on
here: a service manager may have sent them to all processes of the group, and a worker that gets the
same one twice would finish nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from sentq.serving import TEXT, Page
from sentq_worker.exit_codes import EX_UNAVAILABLE

__all__ = ["CLOSING_S", "ChildLink", "ParentLink"]

logger = logging.getLogger(__name__)

#: How many seconds after its grace a child has ended. If it hangs, its parent kills it, or it exits
#: by itself if it has lost its parent.
CLOSING_S: Final = 10.0

#: How long a worker may take to notice a signal.
_HANDLING_S: Final = 5.0
_POLL_S: Final = 0.02

_MAX_LINE_BYTES: Final = 1024
_RECEIVED_BYTES: Final = 65_536

_NO_PAGE: Final = Page(b"the worker starts\n", TEXT, HTTPStatus.SERVICE_UNAVAILABLE)


class ParentLink(threading.Thread):
    """The end of a child: answers the parent, and ends this worker when the parent says so or is
    gone.

    Args:
        fd: The inherited socket. The link owns it.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(name="sentq-parent", daemon=True)
        self._socket = socket.socket(fileno=fd)
        self._pages: Mapping[str, Callable[[], Page]] = {}
        self._signals_received: Callable[[], int | None] = lambda: None
        self._grace_s = 0.0

    def attach(self, signals_received: Callable[[], int | None], *, grace_s: float) -> None:
        """Attach the link to its worker.

        Args:
            signals_received: Returns how many signals the worker has received; None while it has no
                handler for them.
            grace_s: How long the worker may take to finish its batch.
        """
        self._signals_received = signals_received
        self._grace_s = grace_s

    def serve(self, pages: Mapping[str, Callable[[], Page]]) -> None:
        """Answer with these pages from now on. The thread of the link calls them."""
        self._pages = pages

    def run(self) -> None:
        """Answer until the parent is gone."""
        with contextlib.suppress(OSError), self._socket.makefile("rb") as lines:
            while line := lines.readline(_MAX_LINE_BYTES):
                self._obey(line.decode("ascii", "replace").split())
        logger.critical("the parent of this worker is gone: the worker ends")
        self._receive(signal.SIGTERM, times=1)
        time.sleep(self._grace_s + CLOSING_S)
        os._exit(EX_UNAVAILABLE)

    def _obey(self, words: list[str]) -> None:
        match words:
            case ["ask", number, path]:
                page = self._page(path)
                head = f"{number} {int(page.status)} {len(page.body)}\n"
                self._socket.sendall(head.encode() + page.body)
            case ["end", number, times]:
                self._receive(signal.Signals(int(number)), times=int(times))
            case _:
                logger.error("the parent has sent an unknown line")

    def _page(self, path: str) -> Page:
        make = self._pages.get(path)
        if make is None:
            return _NO_PAGE
        try:
            return make()
        except Exception as error:
            logger.exception("a page cannot be made")
            return Page(f"{type(error).__name__}\n".encode(), TEXT, _FAILED)

    def _receive(self, number: signal.Signals, *, times: int) -> None:
        """Let this worker have received a signal so many times: what a service manager has sent
        counts."""
        until = time.monotonic() + _HANDLING_S
        # Two signals of one kind that come before the first is handled are one.
        while (received := self._signals_received()) is not None and received < times - 1:
            if time.monotonic() > until:
                break
            time.sleep(_POLL_S)
        main_thread = threading.main_thread().ident or 0
        if received is None:  # It has no jobs yet, and exits with status 0.
            signal.pthread_kill(main_thread, signal.SIGTERM)
        elif received < times:
            signal.pthread_kill(main_thread, number)


class ChildLink:
    """The end of the parent. One thread at a time may ask; any may end the child."""

    def __init__(self) -> None:
        self._socket, self._childs = socket.socketpair()
        self._last = 0
        self._received = bytearray()

    @property
    def childs_fd(self) -> int:
        """The end that the child inherits."""
        return self._childs.fileno()

    def close_childs(self) -> None:
        """Close the end of the child, once the child has it."""
        self._childs.close()

    def close(self) -> None:
        """Close both ends."""
        self._childs.close()
        self._socket.close()

    def ask(self, path: str) -> None:
        """Ask for a page; `answer` returns it. A child that is gone, or takes nothing, gives no
        answer."""
        self._last += 1
        self._send(f"ask {self._last} {path}\n")

    def answer(self, *, until: float) -> Page | None:
        """Return the answer to the last question.

        Args:
            until: The time of `time.monotonic` to which to wait.

        Returns:
            None if it did not come in time. It is dropped if it comes later.
        """
        while True:
            number, page = self._next_answer()
            if number == self._last:
                return page
            if number is None and not self._receive(until):
                return None

    def end(self, number: signal.Signals, *, times: int) -> None:
        """Tell the child that the parent has received a signal for the so-many-th time."""
        self._send(f"end {int(number)} {times}\n")

    def _send(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(line.encode("ascii"), socket.MSG_DONTWAIT)

    def _next_answer(self) -> tuple[int | None, Page | None]:
        """Take the next whole answer from what was received."""
        head, newline, rest = self._received.partition(b"\n")
        if not newline:
            return None, None
        number, status, length = map(int, head.split())
        if len(rest) < length:
            return None, None
        self._received = rest[length:]
        return number, Page(bytes(rest[:length]), TEXT, HTTPStatus(status))

    def _receive(self, until: float) -> bool:
        """Wait for more; return whether there is some."""
        left_s = until - time.monotonic()
        if left_s <= 0:
            return False
        try:
            self._socket.settimeout(left_s)
            received = self._socket.recv(_RECEIVED_BYTES)
        except OSError:
            return False
        self._received += received
        return bool(received)


_FAILED: Final = HTTPStatus.INTERNAL_SERVER_ERROR
