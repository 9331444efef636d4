"""A stand-in worker whose engine waits and fails where a text says so, and which keeps a record.

`celery -A tests.support.workers.gated worker` is a real worker in all but the scoring. In its Redis
it notes each text that went into the engine and each of Celery's signals. A text that begins with
`hold:<name>` keeps the engine busy until `release(redis, name)`; one that begins with `fail:`
breaks the engine, with an error that quotes it. For one that begins with `short:<n>` memory is
short n times. Between `take_away(redis)` and `bring_back(redis)` there is no engine. It takes
`GATED_LOAD_S` to load.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any, Final, cast

import redis
from celery import signals

from sentq.contract import ErrorCode, Limits, Outcome, TextError
from sentq_worker.app import make_worker_app
from sentq_worker.engine.base import EngineUnavailable
from sentq_worker.settings import WorkerSettings
from tests.support.workers.standin import HashScorer

__all__ = [
    "asked",
    "bring_back",
    "prefetch",
    "release",
    "rounds",
    "scored",
    "signalled",
    "take_away",
]

_SCORED: Final = "tests.scored"
_ROUNDS: Final = "tests.rounds"
_AHEAD: Final = "tests.ahead"
_SIGNALS: Final = "tests.signals"
_AWAY: Final = "tests.away"
_ASKED: Final = "tests.asked"

#: A test that fails must not leave a worker behind that nobody can stop.
_HELD_AT_MOST_S: Final = 20


class GatedScorer(HashScorer):
    """Answers from a hash of the text, unless the text says something else."""

    def __init__(self, settings: WorkerSettings, limits: Limits) -> None:
        super().__init__(settings, limits)
        self._redis = _connect()
        time.sleep(float(os.environ.get("GATED_LOAD_S", "0")))

    def prefetch(self, jobs: Sequence[Sequence[object]]) -> None:
        """Note what is said to come next."""
        texts = [_sendable(str(text)) for job in jobs for text in job]
        self._redis.rpush(_AHEAD, json.dumps(texts))

    def score(self, jobs: Sequence[Sequence[object]]) -> list[list[Outcome]]:
        """One prediction a text."""
        if retry_after_s := cast("bytes | None", self._redis.get(_AWAY)):
            self._redis.incr(_ASKED)
            raise EngineUnavailable("somebody took it", retry_after_s=float(retry_after_s))
        sendable = [[_sendable(str(text)) for text in job] for job in jobs]
        texts = [text for job in sendable for text in job]
        self._redis.rpush(_SCORED, *(f"{time.time()} {text}" for text in texts))
        self._redis.rpush(_ROUNDS, json.dumps(texts))
        for text in texts:
            kind, _, rest = text.partition(":")
            if kind == "hold":
                self._redis.blpop([_gate(rest)], timeout=_HELD_AT_MOST_S)
            elif kind == "fail":
                raise RuntimeError(f"cannot score {text}")
        return [
            [self._outcome(text, outcome) for text, outcome in zip(job, outcomes, strict=True)]
            for job, outcomes in zip(sendable, super().score(sendable), strict=True)
        ]

    def _outcome(self, text: str, outcome: Outcome) -> Outcome:
        kind, _, rest = text.partition(":")
        if kind == "short" and self._redis.incr(f"tests.{text}") <= int(rest.split()[0]):
            return TextError(code=ErrorCode.RESOURCE_EXHAUSTED, message="there is no room")
        return outcome


def scored(client: redis.Redis) -> dict[str, float]:
    """The texts that went into the engine, in order, and the time at which they did."""
    entries = [entry.split(" ", 1) for entry in _strings(client, _SCORED)]
    return {text: float(at_s) for at_s, text in entries}


def rounds(client: redis.Redis) -> list[list[str]]:
    """The texts of each round, in order."""
    return [json.loads(entry) for entry in _strings(client, _ROUNDS)]


def prefetch(client: redis.Redis) -> list[list[str]]:
    """The texts that were said to come next, a list each time something was said, in order."""
    return [json.loads(entry) for entry in _strings(client, _AHEAD)]


def release(client: redis.Redis, name: str) -> None:
    """Let the engine go on that waits at `hold:<name>`."""
    client.rpush(_gate(name), "go")


def take_away(client: redis.Redis, *, retry_after_s: float) -> None:
    """Let there be no engine."""
    client.set(_AWAY, retry_after_s)


def asked(client: redis.Redis) -> int:
    """How often the engine was asked while it was away."""
    return int(cast("bytes", client.get(_ASKED) or b"0"))


def bring_back(client: redis.Redis) -> None:
    """Let there be an engine again."""
    client.delete(_AWAY, _ASKED)


def signalled(client: redis.Redis, job_id: str) -> list[str]:
    """Celery's signals of a job, in order."""
    return _strings(client, f"{_SIGNALS}:{job_id}")


def _strings(client: redis.Redis, key: str) -> list[str]:
    return [entry.decode() for entry in cast("list[bytes]", client.lrange(key, 0, -1))]


def _gate(name: str) -> str:
    return f"tests.gate:{name}"


def _sendable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _connect() -> redis.Redis:
    return redis.Redis.from_url(os.environ["SENTQ_BROKER_URL"], socket_timeout=None)


def _note_signals() -> None:
    client = _connect()

    def connect(name: str) -> None:
        def note(sender: Any = None, task_id: str | None = None, **more: Any) -> None:
            request: Any = more.get("request") or getattr(sender, "request", None)
            client.rpush(_sendable(f"{_SIGNALS}:{task_id or request.id}"), name)

        getattr(signals, name).connect(note, weak=False)

    for kind in ("received", "prerun", "postrun", "success", "failure", "retry", "revoked"):
        connect(f"task_{kind}")


if "SENTQ_BROKER_URL" in os.environ:  # This process is the worker, not the test.
    app = make_worker_app(load=GatedScorer)
    _note_signals()
