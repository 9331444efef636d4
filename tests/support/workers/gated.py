"""A stand-in worker whose engine waits and fails as texts say, and which records its calls.

`celery -A tests.support.workers.gated worker` is a real worker except for the scoring. It records
in its Redis each text that the engine receives and each of Celery's signals. The engine obeys the
beginning of a text:

- `hold:<name>` blocks it until `release(redis, name)`;
- `compute:<name>` makes it compute in steps until then, so that it yields to other jobs;
- `fail:` makes it raise an error that quotes the text;
- `short:<n>` makes it run out of memory n times.

The engine is unavailable between `make_unavailable(redis)` and `make_available(redis)`. It takes
`GATED_LOAD_S` seconds to load.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, cast

import redis
from celery import signals

from sentq.contract import ErrorCode, Limits, Outcome, TextError
from sentq_worker.app import make_worker_app
from sentq_worker.engine.base import EngineUnavailable
from sentq_worker.engine.provider import JobOutcomes
from sentq_worker.engine.steps import Steps
from sentq_worker.settings import WorkerSettings
from tests.support.roles.users import without_user
from tests.support.workers.standin import HashScorer

__all__ = [
    "batches",
    "failed_calls",
    "make_available",
    "make_unavailable",
    "prefetched",
    "release",
    "scored",
    "signalled",
]

_SCORED: Final = "tests.scored"
_BATCHES: Final = "tests.batches"
_PREFETCHED: Final = "tests.prefetched"
_SIGNALS: Final = "tests.signals"
_UNAVAILABLE: Final = "tests.unavailable"
_FAILED_CALLS: Final = "tests.failed_calls"

#: A blocked engine continues after this time, so that the worker of a failed test can be stopped.
_MOST_BLOCKED_S: Final = 20

#: How long a step takes.
_STEP_S: Final = 0.02


class GatedScorer(HashScorer):
    """Score a text by its hash, unless its beginning says something else."""

    def __init__(self, settings: WorkerSettings, limits: Limits) -> None:
        super().__init__(settings, limits)
        self._redis = _connect()
        time.sleep(float(os.environ.get("GATED_LOAD_S", "0")))

    def prefetch(self, jobs: Sequence[Sequence[object]]) -> None:
        """Record the texts that are announced as next."""
        texts = [_sendable(str(text)) for job in jobs for text in job]
        self._redis.rpush(_PREFETCHED, json.dumps(texts))

    def score_in_steps(self, jobs: Sequence[Sequence[object]]) -> Steps[list[JobOutcomes]]:
        """Return one prediction per text, after the steps that the texts ask for."""
        most_at = time.monotonic() + _MOST_BLOCKED_S
        for text in chain.from_iterable(jobs):
            kind, _, name = str(text).partition(":")
            while kind == "compute" and time.monotonic() < most_at:
                if self._redis.llen(_gate(name)):
                    break
                time.sleep(_STEP_S)
                yield
        return [*self.score(jobs)]

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """Return one prediction per text."""
        if retry_after_s := cast("bytes | None", self._redis.get(_UNAVAILABLE)):
            self._redis.incr(_FAILED_CALLS)
            raise EngineUnavailable("made unavailable", retry_after_s=float(retry_after_s))
        sendable = [[_sendable(str(text)) for text in job] for job in jobs]
        texts = [text for job in sendable for text in job]
        self._redis.rpush(_SCORED, *(f"{time.time()} {text}" for text in texts))
        self._redis.rpush(_BATCHES, json.dumps(texts))
        for text in texts:
            kind, _, rest = text.partition(":")
            if kind == "hold":
                self._redis.blpop([_gate(rest)], timeout=_MOST_BLOCKED_S)
            elif kind == "fail":
                raise RuntimeError(f"cannot score {text}")
        return [
            [self._outcome(text, outcome) for text, outcome in zip(job, outcomes, strict=True)]
            for job, outcomes in zip(sendable, super().score(sendable), strict=True)
        ]

    def _outcome(self, text: str, outcome: Outcome) -> Outcome:
        kind, _, rest = text.partition(":")
        if kind == "short" and self._redis.incr(f"tests.{text}") <= int(rest.split()[0]):
            return TextError(code=ErrorCode.RESOURCE_EXHAUSTED, message="out of memory")
        return outcome


def scored(client: redis.Redis) -> dict[str, float]:
    """Return the texts that the engine received, in order, each with its Unix time in seconds."""
    entries = [entry.split(" ", 1) for entry in _strings(client, _SCORED)]
    return {text: float(at_s) for at_s, text in entries}


def batches(client: redis.Redis) -> list[list[str]]:
    """Return the texts of each batch of jobs, in order."""
    return [json.loads(entry) for entry in _strings(client, _BATCHES)]


def prefetched(client: redis.Redis) -> list[list[str]]:
    """Return the texts of each prefetch call, in order."""
    return [json.loads(entry) for entry in _strings(client, _PREFETCHED)]


def release(client: redis.Redis, name: str) -> None:
    """Let the engine finish `hold:<name>`, or `compute:<name>`."""
    client.rpush(_gate(name), "go")


def make_unavailable(client: redis.Redis, *, retry_after_s: float) -> None:
    """Make the engine unavailable."""
    client.set(_UNAVAILABLE, retry_after_s)


def failed_calls(client: redis.Redis) -> int:
    """Return the number of calls while the engine was unavailable."""
    return int(cast("bytes", client.get(_FAILED_CALLS) or b"0"))


def make_available(client: redis.Redis) -> None:
    """Make the engine available again."""
    client.delete(_UNAVAILABLE, _FAILED_CALLS)


def signalled(client: redis.Redis, job_id: str) -> list[str]:
    """Return Celery's signals of a job, in order."""
    return _strings(client, f"{_SIGNALS}:{job_id}")


def _strings(client: redis.Redis, key: str) -> list[str]:
    return [entry.decode() for entry in cast("list[bytes]", client.lrange(key, 0, -1))]


def _gate(name: str) -> str:
    return f"tests.gate:{name}"


def _sendable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _connect() -> redis.Redis:
    return redis.Redis.from_url(without_user(os.environ["SENTQ_BROKER_URL"]), socket_timeout=None)


def _record_signals() -> None:
    client = _connect()

    def connect(name: str) -> None:
        def record(sender: Any = None, task_id: str | None = None, **more: Any) -> None:
            request: Any = more.get("request") or getattr(sender, "request", None)
            client.rpush(_sendable(f"{_SIGNALS}:{task_id or request.id}"), name)

        getattr(signals, name).connect(record, weak=False)

    for kind in ("received", "prerun", "postrun", "success", "failure", "retry", "revoked"):
        connect(f"task_{kind}")


if "SENTQ_BROKER_URL" in os.environ:  # This process is the worker, not the test.
    app = make_worker_app(load=GatedScorer)
    _record_signals()
