"""Jobs that hundreds of tasks follow: Celery publishes each on its own, in the worker's loop."""

from __future__ import annotations

import json
from typing import Any, Final, cast

import pytest

from sentq import Client
from tests.corpus.messages import message, raw
from tests.support.processes import RedisProcess, StartWorker, eventually

JOBS: Final = 7
LINKS: Final = 200

#: With batches of so many tokens a worker takes all of these jobs at once.
BATCH_TOKENS: Final = "16384"

#: What follows each job: a task that no worker here runs.
SAVE: Final[dict[str, Any]] = {
    "task": "shop.save",
    "args": [],
    "kwargs": {},
    "options": {"queue": "shop"},
    "subtask_type": None,
    "immutable": True,
}


def _linked(place: str, links: list[dict[str, Any]], texts: list[str]) -> bytes:
    return raw(message(json.dumps([[texts], {}, {place: links}])))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "texts"),
    [
        pytest.param("callbacks", ["a text"], id="jobs-that-are-scored"),
        pytest.param("errbacks", [], id="jobs-that-are-refused"),
    ],
)
def test_a_job_does_not_wait_until_the_links_of_others_are_published(
    redis_server: RedisProcess, start_worker: StartWorker, place: str, texts: list[str]
) -> None:
    start_worker(
        redis_server.url,
        command=("tests.support.workers.standin",),
        SENTQ_WORKER_BATCH_TOKENS=BATCH_TOKENS,
    )
    with Client(broker_url=redis_server.url) as client, redis_server.client() as redis:
        client.submit("a first text").result(timeout=30)
        redis.lpush("sentq", *[_linked(place, [SAVE] * LINKS, texts) for _ in range(JOBS)])
        eventually(lambda: redis.llen("shop"), what="a first link")
        client.submit("a text").result(timeout=30)
        assert cast("int", redis.llen("shop")) < JOBS * LINKS
        eventually(lambda: redis.llen("shop") == JOBS * LINKS, what="all links")
        eventually(lambda: not redis.exists("unacked"), what="everything acknowledged")


def test_a_queue_of_a_name_that_a_sender_chose_is_only_its_list(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    start_worker(redis_server.url, command=("tests.support.workers.standin",))
    queues = [f"shop-{number}" for number in range(50)]
    links = [SAVE | {"options": {"queue": queue}} for queue in queues]
    with redis_server.client() as redis:
        redis.lpush("sentq", _linked("callbacks", links, ["a text"]))
        eventually(lambda: all(redis.llen(queue) == 1 for queue in queues), what="all links")
        assert redis.keys("_kombu.binding.shop*") == []


def test_a_worker_subscribes_to_no_results_of_a_group_that_it_publishes(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    group = SAVE | {
        "task": "celery.group",
        "kwargs": {"tasks": [SAVE] * 3},
        "options": {},
        "subtask_type": "group",
    }
    start_worker(redis_server.url, command=("tests.support.workers.standin",))
    with redis_server.client() as redis:
        before = _subscriptions(redis)
        redis.lpush("sentq", _linked("callbacks", [group], ["a text"]))
        eventually(lambda: redis.llen("shop") == 3, what="the tasks of the group")
        eventually(lambda: not redis.exists("unacked"), what="everything acknowledged")
        assert _subscriptions(redis) == before


def _subscriptions(redis: Any) -> int:
    """Return how many times clients have subscribed to channels, by name."""
    return int(redis.info("commandstats").get("cmdstat_subscribe", {"calls": 0})["calls"])
