"""Listening to a worker's events as a monitor does, with Celery's own receiver."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Self

from celery import Celery

from tests.support.processes import eventually

__all__ = ["Events"]


class Events:
    """Hears all events from when it is entered until it is left."""

    def __init__(self, app: Celery) -> None:
        self.all: list[dict[str, Any]] = []
        self._app = app
        self._receiver: Any = None
        self._thread = threading.Thread(target=self._listen)

    def of(self, job_id: str) -> Counter[str]:
        """How many events of each kind there were about a job."""
        return Counter(event["type"] for event in self.all if event.get("uuid") == job_id)

    def _listen(self) -> None:
        with self._app.connection() as connection:
            self._receiver = self._app.events.Receiver(connection, handlers={"*": self.all.append})
            self._receiver.capture(limit=None, timeout=None, wakeup=False)

    def _heard_the_worker(self) -> bool:
        self._app.control.broadcast("heartbeat")
        return bool(self.all)

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(self._heard_the_worker, what="an event of the worker")
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._app.control.broadcast("heartbeat")
        self._thread.join()
