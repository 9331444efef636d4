"""A worker without jobs: it sends few commands to Redis, and still finds every kind of job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
import redis

from sentq import Client
from tests.support.celery.site import stock_app
from tests.support.processes import RedisProcess, WorkerProcess
from tests.support.workers.standin import has_hash_scores

pytestmark = pytest.mark.slow

WAIT_S: Final = 30

#: After so long a worker is as quiet as it becomes.
PAUSE_S: Final = 11
COUNTED_S: Final = 15

#: What a worker sends itself. Its scripts run other commands, which are counted too.
SENT: Final = frozenset(
    {"evalsha", "eval", "fcall", "blmove", "brpop", "client|reply", "ping", "publish", "mget"}
)
MOST_SENT_PER_S: Final = 5


@pytest.fixture
def worker(own_redis: RedisProcess, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker that has been idle for some time."""
    environment = {"SENTQ_BROKER_URL": own_redis.url}
    worker = WorkerProcess(tmp_path, environment, ("tests.support.workers.standin",))
    worker.wait_until_ready()
    time.sleep(PAUSE_S)
    yield worker
    assert worker.stop() == 0


def _calls(server: redis.Redis) -> dict[str, int]:
    """Return how often each command was called."""
    found = cast("dict[str, dict[str, Any]]", server.info("commandstats"))
    return {name.removeprefix("cmdstat_"): about["calls"] for name, about in found.items()}


@pytest.mark.usefixtures("worker")
def test_an_idle_worker_sends_few_commands_and_finds_every_job(own_redis: RedisProcess) -> None:
    with own_redis.client() as server:
        before = _calls(server)
        time.sleep(COUNTED_S)
        calls = {name: n - before.get(name, 0) for name, n in _calls(server).items()}
        assert 0 < sum(calls.get(name, 0) for name in SENT) < MOST_SENT_PER_S * COUNTED_S, calls
        # The wait of an idle worker is long, and the list that it waits for stays empty.
        with stock_app(own_redis.url) as stock:
            task: dict[str, Any] = {"name": "sentq.score", "args": [["text"]]}
            low = stock.send_task(**task, queue="sentq", priority=6)
            assert has_hash_scores(low.get(timeout=WAIT_S), "text")
            later = stock.send_task(**task, queue="sentq", countdown=0.5)
            assert has_hash_scores(later.get(timeout=WAIT_S), "text")
        with Client(broker_url=own_redis.url) as client:
            time.sleep(PAUSE_S)
            assert has_hash_scores(client.submit("b", bulk=True).result(timeout=WAIT_S), "b")
            time.sleep(PAUSE_S)
            assert has_hash_scores(client.submit("a").result(timeout=WAIT_S), "a")
        assert server.exists("unacked", "sentq", "sentq.bulk") == 0
