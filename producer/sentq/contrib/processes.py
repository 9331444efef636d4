"""One object for each process, made when it is first needed. Knows no framework.

A server such as `gunicorn --preload` imports an application once and then forks. Connections that
were made before the fork would be shared by all processes, and each would read the replies of the
others.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar
from weakref import WeakSet

__all__ = ["PerProcess"]

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Makes an object when it is first needed, and anew in each process that is forked after that.

    Thread-safe. The object of the parent is not closed in a forked process: it is in use there.

    Args:
        make: Makes the object.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._forget()
        _all.add(self)

    def get(self) -> T:
        """Return the object of this process.

        Raises:
            Exception: What `make` raises; the next call tries again.
        """
        with self._lock:
            if not self._held:
                self._held.append(self._make())
            return self._held[0]

    def pop(self) -> T | None:
        """Return the object of this process, if it was made, and make another one next time."""
        with self._lock:
            return self._held.pop() if self._held else None

    def _forget(self) -> None:
        #: Holds the object, once it was made.
        self._held: list[T] = []
        # Another thread may have held the lock while this process was forked.
        self._lock = threading.Lock()


_all: Final[WeakSet[PerProcess[Any]]] = WeakSet()


def _forget_all() -> None:
    for each in _all:
        each._forget()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_forget_all)
