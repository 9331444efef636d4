"""A hostile sender writes anything into the headers that name a trace: the jobs are scored, and
neither logs nor spans grow or show it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, cast

import pytest

from tests.corpus.canary import traces
from tests.corpus.expected import CANARY
from tests.corpus.messages import GOOD_BODY, message, raw
from tests.support.processes import (
    RedisProcess,
    WorkerProcess,
    eventually,
    worker_environment,
)
from tests.support.tracing.spans import SPANS_FILE, read_spans

VALID: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

#: Values of `traceparent` that name no span.
PARENTS: Final[list[Any]] = [
    *(None, 0, -1, 1e300, True, [], {}, [VALID], {"a": VALID}, "", CANARY, VALID + "\n", "\x00"),
    VALID.upper(),
    VALID.replace("00-4", "ff-4"),
    VALID + "-" + CANARY,
    CANARY * 10_000,
    "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
]

#: Values of `tracestate` beside a valid parent.
STATES: Final[list[Any]] = [
    *(None, 0, [], {}, CANARY, f"{CANARY}={CANARY}", "a=1," * 40, "a=" + "x" * 100_000),
    ",".join(f"{CANARY.lower()}{n}=1" for n in range(5_000)),
    {"a": "b"},
]


@pytest.mark.slow
def test_hostile_headers_of_traces_are_harmless(
    own_redis: RedisProcess, tmp_path: Path, tiny_model: Path
) -> None:
    file = tmp_path / "spans"
    environment = worker_environment(own_redis.url, tiny_model) | {SPANS_FILE: str(file)}
    command = ("tests.support.workers.traced", "--loglevel", "debug", "--log-format", "json")
    hostile = [{"traceparent": parent} for parent in PARENTS]
    hostile += [{"traceparent": VALID, "tracestate": state} for state in STATES]
    # Celery ends those with a retry, so their headers go through its requests too.
    headers = hostile + [each | {"retries": 1} for each in hostile]
    jobs = [message(GOOD_BODY, headers=each) for each in headers]
    worker = WorkerProcess(tmp_path, environment, command)
    try:
        worker.wait_until_ready()
        with own_redis.client() as redis:
            for job in jobs:
                redis.lpush("sentq", raw(job))
            keys = [f"celery-task-meta-{job['headers']['id']}" for job in jobs]
            statuses: list[str] = []

            def all_ended() -> bool:
                found = [each for each in cast("list[bytes]", redis.mget(keys)) if each]
                statuses[:] = [json.loads(each)["status"] for each in found]
                return len(found) == len(keys) and "STARTED" not in statuses

            eventually(all_ended, within_s=60, what="all outcomes")
    finally:
        worker.stop()
    assert set(statuses) == {"SUCCESS"}

    spans = read_spans(file)
    linked = sorted(link[2]["messaging.message.id"] for span in spans for link in span.links)
    valid = [job["headers"]["id"] for job in jobs if job["headers"]["traceparent"] == VALID]
    assert linked == sorted(valid)
    assert max(map(len, file.read_text().splitlines())) < 64 * 1024
    assert traces(file.read_text()) == []
    assert traces(worker.log) == []
    assert all(json.loads(line) for line in worker.log.splitlines())
