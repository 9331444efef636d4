"""A message of any size is refused in Redis, before a worker reads it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Producer, Queue

from sentq import errors
from sentq.wire.dead_letters import DeadLetter
from sentq_worker.broker.channel import Transport
from tests.corpus.messages import body_of, encoded, message
from tests.support.celery.site import Site, run_site
from tests.support.processes import RedisProcess, eventually

MEGABYTES = 1024 * 1024
LARGE = "x" * (32 * MEGABYTES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site")) as site:
        yield site


def _memory_kb(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


def _next_dead_letter(site: Site) -> DeadLetter:
    dead_letter = eventually(site.pop_dead_letter, what="a dead letter")
    assert dead_letter is not None
    return dead_letter


def _large_body() -> dict[str, Any]:
    return message() | {"body": LARGE}


def _large_header() -> dict[str, Any]:
    return message(headers={"x": LARGE})


def _large_property() -> dict[str, Any]:
    whole = message()
    return whole | {"properties": {"x": LARGE} | whole["properties"]}


@pytest.mark.slow
@pytest.mark.parametrize("make", [_large_body, _large_header, _large_property])
def test_a_message_of_32_megabytes_does_not_reach_the_worker(
    site: Site, make: Callable[[], dict[str, Any]]
) -> None:
    pid = site.worker.process.pid
    site.score("before").get(timeout=20)
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before_kb = _memory_kb(pid, "VmRSS")
    for _ in range(3):
        job_id = str(uuid.uuid4())
        whole = make()
        whole["headers"]["id"] = whole["properties"]["correlation_id"] = job_id
        site.redis.lpush("sentq", json.dumps(whole))
        site.score(f"after {job_id}").get(timeout=20)
        dead_letter = _next_dead_letter(site)
        assert dead_letter.reason.startswith("the message is too large: 3355")
        assert (dead_letter.job_id, dead_letter.queue) == (job_id, "sentq")
        assert len(dead_letter.message) < 5_000
        error = site.stock.AsyncResult(job_id).get(timeout=20, propagate=False)
        assert isinstance(error, errors.MessageTooLarge)
    assert _memory_kb(pid, "VmHWM") - before_kb < 8 * 1024
    assert "x" * 100 not in site.worker.log


def test_large_headers_of_a_plain_job_are_refused(site: Site) -> None:
    site.redis.lpush("sentq", json.dumps(message(headers={"x": "x" * 300_000})))
    assert _next_dead_letter(site).reason == "the headers are larger than 262,144 bytes"


def test_the_largest_job_is_scored(site: Site) -> None:
    text = "é" * 90_000
    body = body_of(*[text[: 1024 * 1024 // 12 - 10]] * 2)
    job_id = str(uuid.uuid4())
    whole = message(body, job_id=job_id) | {"body": encoded(body)}
    site.redis.lpush("sentq", json.dumps(whole))
    assert site.stock.AsyncResult(job_id).get(timeout=20)["outcomes"]


def test_messages_are_taken_by_a_user_that_may_not_skip_replies(own_redis: RedisProcess) -> None:
    taken: list[Any] = []

    def take(body: object, delivered: Any) -> None:
        taken.append(body)
        delivered.ack()

    rights = "~* &* +@all -client|reply +client|id"
    with own_redis.client() as server:
        server.execute_command("ACL", "SETUSER", "few", "on", ">secret", *rights.split())
    url = own_redis.url.replace("redis://", "redis://few:secret@")
    with (
        Connection(url) as sender,
        Connection(url, transport=Transport) as connection,
        Consumer(connection, [Queue("sentq")], callbacks=[take]),
    ):
        for number in range(3):
            Producer(sender).publish({"n": number}, routing_key="sentq")
            while len(taken) <= number:
                connection.drain_events(timeout=20)
    assert [each["n"] for each in taken] == [0, 1, 2]
