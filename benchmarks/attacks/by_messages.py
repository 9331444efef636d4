"""Attacks by what a message says: texts, links, times, sizes, headers."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, cast

import redis

from benchmarks.attacks.attack import Attack, Finding, Sent
from benchmarks.attacks.site import AttackSite
from tests.corpus.messages import body_of, message, raw
from tests.support.celery.site import stock_app

__all__ = ["MESSAGE_ATTACKS"]

_MEGABYTE: Final = 1_000_000

#: Celery waits so long before it publishes again.
_FOREVER: Final = {"max_retries": 5, "interval_start": 1_000_000, "interval_max": 1_000_000}

#: A queue of another application, where links publish.
_OTHER_QUEUE: Final = "payments"

_TEN_JOBS: Final = 10


def _push(site: AttackSite, *messages: dict[str, Any]) -> Sent:
    site.redis.lpush("sentq", *map(raw, messages))
    return Sent([str(each["headers"]["id"]) for each in messages])


# --- Cost of texts -------------------------------------------------------------------------


def _spaces(site: AttackSite) -> Sent:
    return _push(site, message(body_of(" " * 99_990 + "x n't")))


def _spaces_of_a_megabyte(site: AttackSite) -> Sent:
    _push(site, message(body_of(*(" " * (99_990 - number) + "x n't" for number in range(10)))))
    return Sent()


def _marks(site: AttackSite) -> Sent:
    return _push(site, message(body_of("!" * 99_000)))


def _marks_of_a_megabyte(site: AttackSite) -> Sent:
    _push(site, message(body_of(*("!" * (99_000 - number) for number in range(10)))))
    return Sent()


# --- What follows a job, and when it is due ------------------------------------------------


def _with_links(*links: dict[str, Any]) -> dict[str, Any]:
    return message(json.dumps([[["a text"]], {}, {"callbacks": list(links)}]))


def _link(task: str = "payments.pay", /, **options: Any) -> dict[str, Any]:
    signature = {"task": task, "args": [], "kwargs": {}, "options": options}
    return signature | {"subtask_type": None, "immutable": False}


def _stuck_link(site: AttackSite) -> Sent:
    return _push(site, _with_links(_link(queue="unacked", retry=True, retry_policy=_FOREVER)))


def _foreign_link(site: AttackSite) -> Sent:
    links = [_link(queue=_OTHER_QUEUE, serializer=name) for name in ("json", "pickle", "yaml")]
    _push(site, *(_with_links(link) for link in links))
    return Sent(check=partial(_published, site))


def _published(site: AttackSite) -> Finding:
    count = site.redis.llen(_OTHER_QUEUE)
    return Finding(f"{count} of 3 published to another application", not count)


def _due_late(chars: int, count: int) -> Callable[[AttackSite], Sent]:
    eta = (datetime.now(UTC) + timedelta(days=20)).isoformat()

    def send(site: AttackSite) -> Sent:
        body = body_of("x" * chars)
        _push(site, *(message(body, headers={"eta": eta}) for _ in range(count)))
        time.sleep(1)
        return Sent()

    return send


# --- Sizes ---------------------------------------------------------------------------------


def _malformed(site: AttackSite) -> Sent:
    return _fill(site, b"{" + b"x" * 1_400_000)


def _unknown_task(site: AttackSite) -> Sent:
    return _fill(site, raw(message(body_of("x" * 1_000_000), headers={"task": "no.task"})))


def _fill(site: AttackSite, whole: bytes) -> Sent:
    for _ in range(39):
        try:
            site.redis.lpush("sentq", whole)
        except redis.ResponseError:
            break
        _wait_until_taken(site)
    return Sent(check=partial(_memory_of_redis, site))


def _memory_of_redis(site: AttackSite) -> Finding:
    used_mib = cast("dict[str, int]", site.redis.info("memory"))["used_memory"] / 2**20
    return Finding(f"Redis holds {used_mib:.0f} of 64 MiB", used_mib < 32)


def _large_body(site: AttackSite) -> Sent:
    return _large(site, message() | {"body": "x" * 32 * _MEGABYTE})


def _large_headers(site: AttackSite) -> Sent:
    return _large(site, message(headers={"x": "x" * 32 * _MEGABYTE}))


def _large(site: AttackSite, whole: dict[str, Any]) -> Sent:
    for _ in range(3):
        site.redis.lpush("sentq", raw(whole))
        _wait_until_taken(site)
    return Sent()


def _wait_until_taken(site: AttackSite) -> None:
    end_at = time.monotonic() + 10
    while (site.redis.llen("sentq") or site.redis.hlen("unacked")) and time.monotonic() < end_at:
        time.sleep(0.01)


# --- Headers and ids -----------------------------------------------------------------------


def _forged_deliveries(site: AttackSite) -> Sent:
    forged = {"sentq_deliveries": 2, "sentq_first_error": "x", "sentq_last_error": "x"}
    jobs = (message(body_of(f"text {n}"), headers=forged) for n in range(300))
    return _push(site, *jobs)


def _forged_cancellations(site: AttackSite) -> Sent:
    for part in _parts(200_000, 10_000):
        site.redis.zadd("sentq.cancelled", {str(uuid.uuid4()): 9e12 for _ in part})
    return Sent(check=partial(_later_cancellations_are_heard, site))


def _parts(count: int, size: int) -> Iterator[range]:
    return (range(first, min(first + size, count)) for first in range(0, count, size))


def _later_cancellations_are_heard(site: AttackSite) -> Finding:
    """Cancel jobs as clients do, which have few rights, and ask the worker which it knows."""
    ids = [str(uuid.uuid4()) for _ in range(_TEN_JOBS)]
    cpu_s, began_at = site.cpu_s(), time.monotonic()
    now_s = site.redis.time()[0]
    site.redis.zadd("sentq.cancelled", dict.fromkeys(ids, now_s))
    time.sleep(6)
    cpu = (site.cpu_s() - cpu_s) / (time.monotonic() - began_at)
    with stock_app(site.url_of("")) as stock:
        replies = stock.control.inspect(timeout=10).revoked() or {}
    known = {job_id for each in replies.values() for job_id in each}
    heard = len(known.intersection(ids))
    text = f"{heard} of {len(ids)} later cancellations heard; {cpu:.0%} of a core while idle"
    return Finding(text, heard == len(ids) and cpu < 0.1)


MESSAGE_ATTACKS: Final = (
    Attack("H1 spaces before n't, 100,000 characters", _spaces, bundled_model=True),
    Attack("H1 the same, 1 MiB", _spaces_of_a_megabyte, bundled_model=True),
    Attack("H2 a link that Celery repeats for days", _stuck_link),
    Attack("H3 a job due in 20 days, 99,000 characters", _due_late(99_000, 1)),
    Attack("H3 eleven jobs due in 20 days", _due_late(9_000, 11)),
    Attack("H4 99,000 exclamation marks", _marks, bundled_model=True),
    Attack("H4 1 MiB of exclamation marks", _marks_of_a_megabyte, bundled_model=True),
    Attack(
        "M2 39 malformed messages of 1.4 MB",
        _malformed,
        redis_options=("--maxmemory", "64mb"),
    ),
    Attack(
        "M2 39 messages of an unknown task",
        _unknown_task,
        redis_options=("--maxmemory", "64mb"),
        variables={"SENTQ_DEAD_LETTER_MAX_BYTES": str(16 * 2**20)},
    ),
    Attack("M3 bodies of 32 MB", _large_body),
    Attack("M3 headers of 32 MB", _large_headers),
    Attack(
        "M4 300 jobs with forged counts", _forged_deliveries, variables={"STANDIN_DELAY_S": "0.03"}
    ),
    Attack(
        "M5 links to another application",
        _foreign_link,
        variables={"SENTQ_WORKER_FOLLOW_QUEUES": '["sentq"]'},
    ),
    Attack("M6 200,000 forged cancellations", _forged_cancellations),
)
