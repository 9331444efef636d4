"""Compares a worker with the other workers of its queues, by their reports in Redis.

It costs one read of all reports every ten seconds, and nothing for a job.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

import redis

from sentq.rendering import printable
from sentq.wire.agreement import Topic, differences, value_of
from sentq.wire.reports import WorkerReport, read_reports

__all__ = ["PeerComparison", "find_older_differing_peer"]

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 10.0

#: How many warnings a worker logs at most about peers: each may write its report as it likes.
_MAX_WARNINGS: Final = 100

_MAX_SHOWN_CHARS: Final = 200

#: How often the report of a peer is read again, to see whether the peer is alive.
_POLL_S: Final = 0.5


class PeerComparison:
    """Logs a warning about each worker of the same queues that differs, once."""

    def __init__(self) -> None:
        self._due_at = 0.0
        self._warned: set[tuple[str, str]] = set()

    def compare(self, own: WorkerReport, connection: redis.Redis, *, prefix: str) -> None:
        """Compare, if it is time to. If Redis does not answer, the next call does it.

        Args:
            own: The report of this worker, before it is written.
            connection: A connection that does not add the prefix to keys.
            prefix: The configured prefix of all keys.
        """
        is_due = time.monotonic() >= self._due_at and own.queues and own.model
        if not is_due:
            return
        with contextlib.suppress(redis.RedisError):
            for peer in read_reports(connection, prefix=prefix):
                self._compare_with(peer, own)
            self._due_at = time.monotonic() + _INTERVAL_S

    def _compare_with(self, peer: WorkerReport, own: WorkerReport) -> None:
        if peer.worker == own.worker:
            if peer.process and peer.process != own.process and peer.at_s > own.started_at_s:
                self._warn(
                    f"another worker is named {_shown(peer.worker)} too: `celery inspect` and "
                    "`sentq status` show them as one. Give each its own --name"
                )
            return
        for topic in differences(own, peer):
            theirs, ours = value_of(topic, peer), value_of(topic, own)
            self._warn(
                f"the worker {_shown(peer.worker)} reads the same queues and differs in its "
                f"{topic}: {_shown(theirs)}; here: {_shown(ours)}. The outcome of a job depends "
                "on the worker that takes it",
                about=(peer.worker, f"{topic} {theirs}"),
            )

    def _warn(self, message: str, *, about: tuple[str, str] | None = None) -> None:
        about = about or (message, "")
        if about not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(about)
            logger.warning("%s", message)


def find_older_differing_peer(
    own: WorkerReport, read: Callable[[], list[WorkerReport]], *, on_wait: Callable[[], object]
) -> tuple[WorkerReport, Topic] | None:
    """Return a live worker of the same queues that started earlier and has another model, revision
    or labels, and in what it differs; None if no worker does.

    Of two workers that start together, the later one finds the other. A report may be that of a
    worker that was killed: it is read again until its worker writes the next one, or it expires.

    Args:
        own: The report of this worker. It has been written, so that others find it.
        read: Returns all reports.
        on_wait: Called before each further read; may raise to give up.

    Raises:
        redis.RedisError: Redis did not answer.
    """
    first_seen: dict[str, float] = {}
    while True:
        found = _older_differing(own, read())
        for peer, topic in found:
            if peer.at_s > first_seen.setdefault(peer.worker, peer.at_s):
                return peer, topic
        if not found:
            return None
        on_wait()
        time.sleep(_POLL_S)


def _older_differing(
    own: WorkerReport, reports: list[WorkerReport]
) -> list[tuple[WorkerReport, Topic]]:
    own_age = own.started_at_s, own.worker
    return [
        (peer, topics[0])
        for peer in reports
        if peer.worker != own.worker and (peer.started_at_s, peer.worker) < own_age
        if (topics := [t for t in differences(own, peer) if t is not Topic.VERSION])
    ]


def _shown(text: str | None) -> str:
    return printable(text or "")[:_MAX_SHOWN_CHARS]
