"""Records each published final result, on a connection that only a fault of Redis breaks."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from typing import Final, Self

import redis

__all__ = ["PublishedResults"]

_PREFIX: Final = "celery-task-meta-"
_FINAL: Final = re.compile(rb'^{"status": *"(?:SUCCESS|FAILURE|REVOKED)"')


class PublishedResults:
    """Records the final results that are published for each job.

    Attributes:
        at_s: The monotonic time of the first result, by job id.
        first: The hash of the first result, by job id.
        duplicates: The number of further results, by job id.
        last_at_s: The time of the latest first result.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.at_s: dict[str, float] = {}
        self.first: dict[str, int] = {}
        self.duplicates: dict[str, int] = {}
        self.last_at_s = 0.0
        self._ended = threading.Event()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start to listen, and wait until the subscription exists."""
        self._thread.start()
        self._listens.wait(10)

    def close(self) -> None:
        """Stop listening."""
        self._ended.set()
        self._thread.join(10)

    def first_after(self, at_s: float) -> float | None:
        """Return the time of the first result after `at_s`, or None."""
        return min((each for each in self.at_s.values() if each > at_s), default=None)

    def _run(self) -> None:
        while not self._ended.is_set():
            with suppress(redis.ConnectionError, redis.TimeoutError), self._client() as client:
                listener = client.pubsub(ignore_subscribe_messages=True)
                try:
                    listener.psubscribe(f"{_PREFIX}*")
                    self._listens.set()
                    while not self._ended.is_set():
                        if message := listener.get_message(timeout=0.2):
                            self._record(message["channel"], message["data"])
                finally:
                    listener.close()
            time.sleep(0.01)

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self._port, socket_timeout=10)

    def _record(self, channel: bytes, document: bytes) -> None:
        if not _FINAL.match(document):
            return
        job_id = channel[len(_PREFIX) :].decode()
        if job_id in self.at_s:
            self.duplicates[job_id] = self.duplicates.get(job_id, 0) + 1
            return
        self.last_at_s = self.at_s[job_id] = time.monotonic()
        self.first[job_id] = hash(document)
