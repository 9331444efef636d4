"""Hears each final answer as it is published, from a connection that nobody breaks but Redis."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from typing import Final

import redis

__all__ = ["PublishedOutcomes"]

_PREFIX: Final = "celery-task-meta-"
_FINAL: Final = re.compile(rb'^{"status": *"(?:SUCCESS|FAILURE|REVOKED)"')


class PublishedOutcomes:
    """Counts the final documents that are published for each job.

    `at_s` has the monotonic time of the first one, `first` its hash, by job id; `again` how often
    a further one came.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.at_s: dict[str, float] = {}
        self.first: dict[str, int] = {}
        self.again: dict[str, int] = {}
        self.last_at_s = 0.0
        self._ended = threading.Event()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()
        self._listens.wait(10)

    def close(self) -> None:
        """Listen no more."""
        self._ended.set()
        self._thread.join(10)

    def first_after(self, at_s: float) -> float | None:
        """When the first answer after this time came."""
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
                            self._hear(message["channel"], message["data"])
                finally:
                    listener.close()
            time.sleep(0.01)

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self._port, socket_timeout=10)

    def _hear(self, channel: bytes, document: bytes) -> None:
        if not _FINAL.match(document):
            return
        job_id = channel[len(_PREFIX) :].decode()
        if job_id in self.at_s:
            self.again[job_id] = self.again.get(job_id, 0) + 1
            return
        self.last_at_s = self.at_s[job_id] = time.monotonic()
        self.first[job_id] = hash(document)
