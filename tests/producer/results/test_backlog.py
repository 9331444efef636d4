"""What a client knows of the backlog, and what a time-out says of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from sentq import Client, JobStatus, errors
from sentq.wire.reports import WorkerReport, write_report
from tests.support.processes import RedisProcess


def _report(connection: redis.Redis, worker: str, **about: Any) -> None:
    now_s = time.time()
    fields = {"worker": worker, "queues": ("sentq", "sentq.bulk")} | about
    report = WorkerReport(at_s=now_s, started_at_s=now_s, **fields)
    write_report(connection, report, lifetime_s=60)


def _raise(error: object) -> None:
    assert isinstance(error, Exception)
    raise error


def test_the_backlog_counts_waiting_jobs_and_the_workers_of_the_queues(
    client: Client, redis_server: RedisProcess
) -> None:
    client.submit_many(["a", "b", "c"])
    client.submit("d", bulk=True)
    with redis_server.client() as connection:
        connection.lpush("sentq\x06\x163", "{}")
        connection.zadd("sentq.scheduled", {"e": 1, "f": 2})
        _report(connection, "one", jobs_per_s=2.0)
        _report(connection, "two", jobs_per_s=0.5, queues=("sentq.bulk",))
        _report(connection, "of others", jobs_per_s=100.0, queues=("elsewhere",))
    backlog = client.backlog()
    assert backlog.waiting_jobs == {"sentq": 4, "sentq.bulk": 1}
    assert backlog.scheduled_jobs == 2
    assert [report.worker for report in backlog.workers] == ["one", "two"]
    assert (backlog.total_jobs, backlog.jobs_per_s, backlog.wait_s) == (5, 2.5, 2.0)


@pytest.mark.parametrize("prefix", ["", "acme:"])
def test_the_backlog_is_read_where_results_are_elsewhere_and_with_a_prefix(
    redis_server: RedisProcess, prefix: str
) -> None:
    url = redis_server.url
    options = {"global_keyprefix": prefix} if prefix else {}
    results = url.removesuffix("/0") + "/1"
    with (
        Client(broker_url=url, result_url=results, transport_options=options) as client,
        redis_server.client() as connection,
    ):
        client.submit_many(["a", "b"])
        write_report(
            connection,
            WorkerReport(worker="one", at_s=0, started_at_s=0, queues=("sentq",)),
            lifetime_s=60,
            prefix=prefix,
        )
        assert connection.llen(f"{prefix}sentq") == 2
        assert client.backlog().waiting_jobs == {"sentq": 2, "sentq.bulk": 0}
        assert [report.worker for report in client.backlog().workers] == ["one"]


def test_an_unavailable_redis_is_a_typed_error(own_redis: RedisProcess) -> None:
    with Client(broker_url=own_redis.url) as client:
        own_redis.stop()
        with pytest.raises(errors.BrokerUnavailable):
            client.backlog()


def test_without_workers_there_is_no_estimate(client: Client) -> None:
    client.submit("text")
    assert client.backlog().wait_s is None
    assert client.backlog().workers == ()


def test_a_broker_other_than_redis_has_no_backlog(redis_server: RedisProcess) -> None:
    with (
        Client(broker_url="memory://", result_url=redis_server.url) as client,
        pytest.raises(errors.SettingsError),
    ):
        client.backlog()


@pytest.mark.parametrize("path", ["result", "results", "map"])
def test_a_timeout_names_status_and_place_and_that_no_worker_reports(
    client: Client, path: str
) -> None:
    client.submit_many(["before"] * 7)
    waits: dict[str, Callable[[], Any]] = {
        "result": lambda: client.submit("text").result(timeout=0.1),
        "map": lambda: list(client.map(["text"], timeout=0.1)),
        "results": lambda: _raise(*client.results([client.submit("text")], timeout=0.1)),
    }
    with pytest.raises(errors.WaitTimeout) as waited:
        waits[path]()
    error = waited.value
    assert (error.status, error.jobs_ahead, error.workers) == (JobStatus.QUEUED, 7, 0)
    assert str(error).endswith(
        "it is queued, with at most 7 jobs before it; no worker reports that it reads sentq or "
        "sentq.bulk"
    )


def test_a_timeout_names_the_workers_that_read_the_queues(
    client: Client, redis_server: RedisProcess
) -> None:
    job = client.submit("text")
    with redis_server.client() as connection:
        for name in ("one", "two"):
            _report(connection, name)
        connection.set(f"celery-task-meta-{job.id}", '{"status": "STARTED", "result": null}')
    with pytest.raises(errors.WaitTimeout, match="it is running; 2 workers read") as waited:
        job.result(timeout=0.1)
    assert (waited.value.jobs_ahead, waited.value.workers) == (0, 2)


def test_polling_with_short_timeouts_reads_the_backlog_once_a_second(
    client: Client, redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.submit("text")
    monkeypatch.setattr("sentq.results.steps._BACKLOG_VALID_S", 1000)
    with redis_server.client() as connection:
        connection.config_resetstat()
        assert len(list(client.results([job] * 20, timeout=0))) == 20
        calls = connection.info("commandstats")["cmdstat_llen"]["calls"]
    assert calls == 8, "the lists of two queues"


def test_a_sender_without_the_right_gets_a_timeout_all_the_same(redis_server: RedisProcess) -> None:
    with redis_server.client() as connection:
        connection.execute_command(
            *("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-llen")
        )
        try:
            url = redis_server.url.replace("redis://", "redis://limited:secret@")
            with Client(broker_url=url) as client, pytest.raises(errors.WaitTimeout) as waited:
                client.submit("text").result(timeout=0.1)
        finally:
            connection.execute_command("ACL", "DELUSER", "limited")
    assert str(waited.value).endswith("it is queued")
    assert (waited.value.jobs_ahead, waited.value.workers) == (None, None)
