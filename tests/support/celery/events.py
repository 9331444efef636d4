"""A worker's events, received as a monitor does: with Celery's own receiver."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Self

from celery import Celery

from tests.support.processes import eventually

__all__ = ["Events"]


class Events:
    """Record all events while its context is open."""

    def __init__(self, app: Celery) -> None:
        self.all: list[dict[str, Any]] = []
        self._app = app
        self._receiver: Any = None
        self._thread = threading.Thread(target=self._listen)

    @property
    def types(self) -> set[str]:
        """The types of all events so far."""
        return {event["type"] for event in self.all}

    def of(self, job_id: str) -> Counter[str]:
        """Return the number of events of a job, by type."""
        return Counter(event["type"] for event in self.all if event.get("uuid") == job_id)

    def _listen(self) -> None:
        with self._app.connection() as connection:
            self._receiver = self._app.events.Receiver(connection, handlers={"*": self.all.append})
            self._receiver.capture(limit=None, timeout=None, wakeup=False)

    def _has_event(self) -> bool:
        self._app.control.broadcast("heartbeat")
        return bool(self.all)

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(self._has_event, what="an event of the worker")
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._app.control.broadcast("heartbeat")
        self._thread.join()
