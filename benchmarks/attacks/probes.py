"""Interactive jobs beside an attack: how many are answered in time, and the longest latency."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, cast

import redis

from tests.corpus.messages import body_of, message, raw

__all__ = ["ProbeFigures", "score_probes", "score_texts"]

_RESULT_PREFIX: Final = b"celery-task-meta-"

_TEXT: Final = "The room was clean and quiet, and breakfast was good."


@dataclass(frozen=True, slots=True)
class ProbeFigures:
    """What the sender of interactive jobs sees.

    Attributes:
        sent: The number of jobs.
        latencies_s: From the sending of a job to its outcome, of the jobs that were scored.
        watched_s: When the last job of the attack ended, in seconds after the first probe was
            sent; None if one of them did not end.
    """

    sent: int
    latencies_s: tuple[float, ...]
    watched_s: float | None

    @property
    def longest_s(self) -> float | None:
        """The longest latency; None if a job was not scored."""
        return max(self.latencies_s) if len(self.latencies_s) == self.sent else None

    def answered_within(self, limit_s: float) -> int:
        """Return the number of jobs that were scored within the limit."""
        return sum(latency_s <= limit_s for latency_s in self.latencies_s)


def score_probes(
    server: redis.Redis,
    *,
    count: int,
    interval_s: float,
    wait_s: float,
    watched: Collection[str] = (),
) -> ProbeFigures:
    """Send jobs of one short text, one each `interval_s`, whether or not the last one is answered.

    Args:
        server: A connection with all rights.
        count: The number of jobs.
        interval_s: The time between two of them.
        wait_s: How long to wait for outcomes after the last one was sent.
        watched: Ids of jobs of the attack.
    """
    sent_at: dict[str, float] = {}
    latencies_s: dict[str, float] = {}
    remaining, watched_s = set(watched), 0.0
    with server.pubsub(ignore_subscribe_messages=True) as results:
        results.psubscribe(_RESULT_PREFIX.decode() + "*")
        results.get_message(timeout=5)
        remaining -= {job_id for job_id in remaining if _is_scored(server, job_id)}
        began_at = time.monotonic()
        send_times = [began_at + number * interval_s for number in range(count)]
        end_at = send_times[-1] + wait_s
        sent = 0
        while time.monotonic() < end_at and (sent < count or len(latencies_s) < count):
            if sent < count and time.monotonic() >= send_times[sent]:
                sent += 1
                _send_one(server, f"{_TEXT} {sent}", sent_at)
            next_at = send_times[sent] if sent < count else end_at
            found = results.get_message(timeout=max(0.001, next_at - time.monotonic()))
            job_id, status = _ended(found)
            if job_id in sent_at and status == "SUCCESS":
                latencies_s[job_id] = time.monotonic() - sent_at[job_id]
            elif job_id in remaining:
                remaining.discard(job_id)
                watched_s = time.monotonic() - began_at
        while remaining and time.monotonic() < end_at:
            job_id, _ = _ended(results.get_message(timeout=1))
            if job_id in remaining:
                remaining.discard(job_id)
                watched_s = time.monotonic() - began_at
    return ProbeFigures(count, tuple(latencies_s.values()), None if remaining else watched_s)


def score_texts(server: redis.Redis, texts: list[str], *, within_s: float) -> None:
    """Have one job scored.

    Raises:
        TimeoutError: It has no outcome.
    """
    job = message(body_of(*texts))
    server.lpush("sentq", raw(job))
    end_at = time.monotonic() + within_s
    while not _is_scored(server, job["headers"]["id"]):
        if time.monotonic() > end_at:
            raise TimeoutError(f"a job was not scored within {within_s} s")
        time.sleep(0.02)


def _send_one(server: redis.Redis, text: str, sent_at: dict[str, float]) -> None:
    job = message(body_of(text))
    at = time.monotonic()
    try:
        server.lpush("sentq", raw(job))
    except redis.RedisError:
        return  # Redis is full, or executes a script without end. The job counts as unanswered.
    sent_at[job["headers"]["id"]] = at


def _is_scored(server: redis.Redis, job_id: str) -> bool:
    document = cast("bytes | None", server.get(_RESULT_PREFIX + job_id.encode()))
    return b'"SUCCESS"' in (document or b"")


def _ended(found: dict[str, Any] | None) -> tuple[str, str]:
    """Return the id of the job and the status that were published, or empty strings."""
    if found is None or found["type"] != "pmessage":
        return "", ""
    try:
        status = str(json.loads(found["data"])["status"])
    except (ValueError, LookupError, TypeError):
        return "", ""
    if status not in {"SUCCESS", "FAILURE", "REVOKED"}:
        return "", ""
    return found["channel"].removeprefix(_RESULT_PREFIX).decode("utf-8", "replace"), status
