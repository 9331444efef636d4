"""A worker on RabbitMQ: kombu's own transport takes the messages, and results are in Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from kombu import Connection

from sentq import Client
from sentq_worker.exit_codes import EX_CONFIG
from tests.support.celery.rabbitmq import RabbitProcess
from tests.support.processes import RedisProcess, WorkerProcess
from tests.support.workers.standin import has_hash_scores

pytestmark = pytest.mark.slow

WAIT_S: Final = 30


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitProcess]:
    """Run a RabbitMQ without queues for all tests."""
    server = RabbitProcess(tmp_path_factory.mktemp("rabbitmq") / "node")
    try:
        yield server.start()
    finally:
        server.stop()


def _worker(folder: Path, rabbitmq: RabbitProcess, redis: RedisProcess) -> WorkerProcess:
    urls = {"SENTQ_BROKER_URL": rabbitmq.url, "SENTQ_RESULT_URL": redis.url}
    return WorkerProcess(folder, urls, ("tests.support.workers.standin",))


def test_jobs_in_classic_queues_are_scored(
    rabbitmq: RabbitProcess, redis_server: RedisProcess, tmp_path: Path
) -> None:
    worker = _worker(tmp_path, rabbitmq, redis_server)
    try:
        worker.wait_until_ready()
        with Client(broker_url=rabbitmq.url, result_url=redis_server.url) as client:
            assert has_hash_scores(client.submit("a text").result(timeout=WAIT_S), "a text")
            outcomes = list(client.map(["a", "b", "c"], timeout=WAIT_S))
            assert len(outcomes) == 3
    finally:
        worker.stop()


def test_a_worker_says_in_one_line_that_a_queue_is_of_another_kind(
    rabbitmq: RabbitProcess, redis_server: RedisProcess, tmp_path: Path
) -> None:
    with Connection(rabbitmq.url) as connection:
        channel = connection.channel()
        channel.queue_delete("sentq")
        kind = {"x-queue-type": "quorum"}
        channel.queue_declare("sentq", durable=True, auto_delete=False, arguments=kind)
        worker = _worker(tmp_path, rabbitmq, redis_server)
        assert worker.process.wait(60) == EX_CONFIG, worker.log
        channel.queue_delete("sentq")
    (line,) = [each for each in worker.log.splitlines() if "CRITICAL" in each]
    assert "inequivalent arg 'x-queue-type' for queue 'sentq'" in line
    assert "SENTQ_QUEUE" in line
    assert "Traceback" not in worker.log
