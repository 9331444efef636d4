"""The client with a real Redis and a stock Celery worker that registers `sentq.score`."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import Celery

import sentq
from sentq import Client, Job, JobStatus, Prediction, errors
from sentq.wire.ids import new_job_ids
from tests.support.celery.site import stock_app
from tests.support.processes import RedisProcess, eventually, free_port


def _answer(texts: list[str]) -> dict[str, Any]:
    rows = [
        {
            "label": "positive" if "good" in text else "negative",
            "score": 1.0,
            "scores": {"negative": 0.0, "positive": 1.0},
            "sentiment": 1.0,
            "tokens": len(text.split()),
            "windows": 1,
        }
        for text in texts
    ]
    about = {"model": "stock", "revision": None, "backend": "stock", "dtype": "none"}
    times = {"attempts": 1, "queued_ms": None, "inference_ms": 0.1}
    return {"outcomes": rows} | about | times


@pytest.fixture
def stock_worker(redis_server: RedisProcess) -> Iterator[None]:
    """Run a stock Celery worker that registers the task, without sentq_worker."""
    process = subprocess.Popen(
        [sys.executable, "-c", _STOCK_WORKER, redis_server.url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield
    process.terminate()
    process.wait(20)


_STOCK_WORKER = """
import sys
from celery import Celery
from tests.producer.test_client import _answer

app = Celery("stock", broker=sys.argv[1], backend=sys.argv[1])

@app.task(name="sentq.score")
def score(texts):
    if texts == ["fail"]:
        raise LookupError("stock failure")
    return _answer(texts)

app.worker_main(
    ["worker", "-P", "solo", "-Q", "sentq,sentq.bulk", "--without-mingle", "--without-gossip"]
)
"""


def test_a_stock_celery_worker_can_score_jobs(client: Client, stock_worker: None) -> None:
    job = client.submit(["a good day", "a day"])
    outcome = job.result(timeout=30)
    assert [row.label for row in outcome.outcomes if isinstance(row, Prediction)] == [
        "positive",
        "negative",
    ]
    assert outcome.model == "stock"
    assert job.status() is JobStatus.DONE
    with pytest.raises(errors.JobFailed, match="stock failure") as failed:
        client.submit("fail").result(timeout=30)
    assert failed.value.code == "LookupError"
    assert failed.value.job_id


def test_map_streams_through_a_stock_worker_in_order(client: Client, stock_worker: None) -> None:
    texts = [f"{'good' if i % 3 else 'bad'} {i}" for i in range(1000)]
    labels = [
        outcome.label if isinstance(outcome, Prediction) else outcome.code
        for outcome in client.map(texts, texts_per_job=7, jobs_in_flight=5, timeout=30)
    ]
    assert labels == ["positive" if i % 3 else "negative" for i in range(1000)]


def test_many_threads_share_one_client(client: Client, stock_worker: None) -> None:
    with ThreadPoolExecutor(16) as threads:
        outcomes = list(
            threads.map(lambda i: client.submit(f"good {i}").result(timeout=30), range(200))
        )
    assert len(outcomes) == 200


def test_a_queued_job_differs_from_an_unknown_one(client: Client) -> None:
    job = client.submit("text")
    assert job.status() is JobStatus.QUEUED
    assert client.job(job.id).status() is JobStatus.QUEUED
    assert client.job(new_job_ids(1)[0]).status() is JobStatus.UNKNOWN


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("STARTED", JobStatus.RUNNING),
        ("RETRY", JobStatus.RUNNING),
        ("SUCCESS", JobStatus.DONE),
        ("FAILURE", JobStatus.FAILED),
        ("REVOKED", JobStatus.CANCELLED),
    ],
)
def test_each_state_of_celery_has_its_status(
    client: Client, redis_server: RedisProcess, state: str, status: JobStatus
) -> None:
    job = client.submit("text")
    with redis_server.client() as redis:
        redis.set(f"celery-task-meta-{job.id}", f'{{"status": "{state}", "result": null}}')
    assert job.status() is status


def test_a_wait_timeout_names_the_status_of_the_job(client: Client) -> None:
    job = client.submit("text")
    started = time.monotonic()
    with pytest.raises(errors.WaitTimeout, match="queued") as waited:
        job.result(timeout=0.3)
    assert 0.25 < time.monotonic() - started < 2
    assert isinstance(waited.value, TimeoutError)


def test_waiting_for_an_unknown_job_is_an_error(client: Client) -> None:
    with pytest.raises(errors.UnknownJob):
        client.job(new_job_ids(1)[0]).result(timeout=30)
    with pytest.raises(errors.UnknownJob):
        client.job("no id at all").result(timeout=30)


def test_an_outcome_expires_after_its_ttl(redis_server: RedisProcess) -> None:
    with Client(broker_url=redis_server.url, result_ttl_s=1) as client:
        job = client.submit("text")
        eventually(lambda: job.status() is JobStatus.UNKNOWN)
        with pytest.raises(errors.JobExpired, match="1 s"):
            job.result(timeout=5)


def test_an_expired_or_revoked_job_raises_its_own_error(
    client: Client, redis_server: RedisProcess
) -> None:
    for reason, error in (("expired", errors.JobExpired), ("revoked", errors.JobCancelled)):
        job = client.submit("text")
        result = f'{{"exc_type": "TaskRevokedError", "exc_message": ["{reason}"]}}'
        with redis_server.client() as redis:
            redis.set(f"celery-task-meta-{job.id}", f'{{"status": "REVOKED", "result": {result}}}')
        with pytest.raises(error):
            job.result(timeout=5)


def test_a_result_that_is_not_an_outcome_is_an_error_without_its_content(
    client: Client, redis_server: RedisProcess
) -> None:
    job = client.submit("text")
    with redis_server.client() as redis:
        redis.set(f"celery-task-meta-{job.id}", '{"status": "SUCCESS", "result": {"x": "CANARY"}}')
    with pytest.raises(errors.JobFailed) as failed:
        job.result(timeout=5)
    assert failed.value.code == "not_an_outcome"
    assert "CANARY" not in str(failed.value)


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        ([], errors.EmptyJob),
        (["x"] * 257, errors.TooManyTexts),
        ([1], errors.NotAString),
        (b"bytes", errors.NotAString),
        (None, errors.NotAString),
        ("\ud800", errors.LoneSurrogate),
        ("x" * 100_001, errors.TextTooLong),
    ],
)
def test_invalid_input_is_rejected_before_sending(
    client: Client, redis_server: RedisProcess, texts: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        client.submit(texts)
    with redis_server.client() as redis:
        assert redis.keys() == []


def test_single_jobs_and_bulk_jobs_have_separate_queues(
    client: Client, redis_server: RedisProcess
) -> None:
    client.submit("single")
    client.submit("bulk", bulk=True)
    with redis_server.client() as redis:
        assert redis.llen("sentq") == 1
        assert redis.llen("sentq.bulk") == 1


def test_the_headers_of_a_message_hold_no_text(client: Client, redis_server: RedisProcess) -> None:
    client.submit("CANARY")
    with redis_server.client() as redis:
        (message,) = redis.lrange("sentq", 0, -1)
    assert b"CANARY" not in message  # The body is base64; headers are not.
    assert b"<1 text>" in message


def test_an_unavailable_redis_is_a_typed_error_within_five_seconds(
    own_redis: RedisProcess,
) -> None:
    with Client(broker_url=own_redis.url) as client:
        job = client.submit("before")
        own_redis.stop()
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(errors.BrokerUnavailable):
                client.submit("during the outage")
            assert time.monotonic() - started < 5
        with pytest.raises(errors.ResultsUnavailable):
            job.status()
        own_redis.start()
        assert job.status() is JobStatus.QUEUED
        assert client.submit("after").status() is JobStatus.QUEUED


@pytest.mark.slow
def test_a_redis_that_never_replies_is_an_error_within_five_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with Client(broker_url=f"redis://127.0.0.1:{port}/0") as client:
            started = time.monotonic()
            with pytest.raises(errors.BrokerUnavailable):
                client.submit("text")
            assert time.monotonic() - started < 5


def test_a_redis_that_freezes_is_an_error_within_five_seconds(own_redis: RedisProcess) -> None:
    assert own_redis.process is not None
    with Client(broker_url=own_redis.url) as client:
        client.submit("before")
        subprocess.run(["kill", "-STOP", str(own_redis.process.pid)], check=True)
        try:
            started = time.monotonic()
            with pytest.raises(errors.BrokerUnavailable):
                client.submit("frozen")
            assert time.monotonic() - started < 5
        finally:
            subprocess.run(["kill", "-CONT", str(own_redis.process.pid)], check=True)
        assert client.submit("after").status() is JobStatus.QUEUED


def test_a_closed_port_is_an_error_at_once() -> None:
    with Client(broker_url=f"redis://127.0.0.1:{free_port()}/0") as client:
        started = time.monotonic()
        with pytest.raises(errors.BrokerUnavailable, match="`sentq dev` starts one"):
            client.submit("text")
        assert time.monotonic() - started < 2


def test_a_waiter_survives_a_restart_of_redis(own_redis: RedisProcess) -> None:
    with (
        Client(broker_url=own_redis.url) as client,
        ThreadPoolExecutor(1) as thread,
        stock_app(own_redis.url) as app,
    ):
        job = client.submit("text")
        waiting = thread.submit(job.result, 30)
        with own_redis.client() as redis:
            eventually(redis.pubsub_channels)
        own_redis.stop()
        own_redis.start()
        app.backend.store_result(job.id, _answer(["good"]), "SUCCESS")
        assert waiting.result(30).model == "stock"


def test_an_outcome_stored_before_the_wait_is_not_missed(
    client: Client, redis_server: RedisProcess
) -> None:
    with stock_app(redis_server.url) as app:
        for delay_s in (0, 0.001, 0.003, 0.01):
            job = client.submit("text")
            store = threading.Timer(
                delay_s, app.backend.store_result, (job.id, _answer(["good"]), "SUCCESS")
            )
            store.start()
            assert job.result(timeout=30).model == "stock"
            store.join()


def test_a_closed_client_leaves_no_connection_and_can_be_used_again(
    own_redis: RedisProcess,
) -> None:
    with own_redis.client() as redis:

        def connections() -> int:
            return len(redis.client_list()) - 1

        client = Client(broker_url=own_redis.url)
        job = client.submit("text")
        with pytest.raises(errors.WaitTimeout):
            job.result(timeout=0.1)
        assert connections() > 0
        client.close()
        eventually(lambda: connections() == 0, what="closed connections")
        assert job.status() is JobStatus.QUEUED
        client.close()


def test_a_closed_client_closes_its_connections_to_the_broker_and_no_others(
    own_redis: RedisProcess,
) -> None:
    with own_redis.client() as redis:

        def connections() -> int:
            return len(redis.client_list()) - 1

        first, second = (Client(broker_url=own_redis.url) for _ in range(2))
        # Through kombu, as jobs for a Redis with results elsewhere are.
        assert first.service_status().dead_letters == 0
        both = connections()
        assert second.service_status().dead_letters == 0
        assert connections() > both > 0
        first.close()
        eventually(lambda: connections() == both, what="closed connections")
        assert second.service_status().dead_letters == 0
        assert first.service_status().dead_letters == 0
        for client in (first, second):
            client.close()
        eventually(lambda: connections() == 0, what="closed connections")


def test_celery_variables_of_the_host_application_are_ignored(
    redis_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://elsewhere//")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "file:///nowhere")
    with Client(broker_url=redis_server.url) as client:
        assert client.submit("text").status() is JobStatus.QUEUED
    with redis_server.client() as redis:
        assert redis.llen("sentq") == 1


def test_the_celery_app_of_the_host_application_stays_current(redis_server: RedisProcess) -> None:
    host = Celery("host", broker="memory://")
    Client(broker_url=redis_server.url).close()
    import celery

    assert celery.current_app.main == host.main


def test_no_text_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client.submit("CANARY")
        with pytest.raises(errors.InvalidInput):
            client.submit(["CANARY", "CANARY\ud800"])
    assert "CANARY" not in caplog.text


def test_a_handle_is_plain_and_shows_no_text(client: Client) -> None:
    job = client.submit("text")
    assert repr(job) == f"Job('{job.id}')"
    assert isinstance(client.job(job.id), Job)


def test_all_public_names_are_importable() -> None:
    assert all(hasattr(sentq, name) for name in sentq.__all__)


# --- Arguments of the wrong kind -----------------------------------------------------------


@pytest.mark.parametrize("call", ["map", "submit_many", "results"])
@pytest.mark.parametrize("argument", ["CANARY", b"CANARY", 5, None])
def test_one_value_in_place_of_several_is_an_error(
    client: Client, redis_server: RedisProcess, call: str, argument: Any
) -> None:
    with pytest.raises(errors.InvalidInput, match=f"{call} takes several .* a list") as refused:
        getattr(client, call)(argument)
    assert "CANARY" not in str(refused.value)
    with redis_server.client() as redis:
        assert redis.keys() == []


def test_a_string_in_place_of_keys_is_an_error(client: Client) -> None:
    with pytest.raises(errors.InvalidInput, match="keys"):
        client.submit_many(["a", "b"], keys="ab")


def test_results_take_ids_too(client: Client, redis_server: RedisProcess) -> None:
    job, other = client.submit("a good day"), client.submit("a day")
    with stock_app(redis_server.url) as app:
        for each in (job, other):
            app.backend.store_result(each.id, _answer(["a good day"]), "SUCCESS")
    found = list(client.results([job.id, other], timeout=10))
    assert all(isinstance(each, sentq.JobOutcome) for each in found)
    assert len(found) == 2


@pytest.mark.parametrize("job", [5, None, b"id", ["id"]])
def test_what_is_no_job_is_an_error(client: Client, job: Any) -> None:
    with pytest.raises(errors.InvalidInput, match="a Job or the id of one"):
        client.results([job])
    with pytest.raises(errors.InvalidInput, match="a Job or the id of one"):
        client.job(job)


@pytest.mark.parametrize("seconds", ["5", [5], True])
def test_seconds_must_be_a_number(client: Client, seconds: Any) -> None:
    job = client.submit("text")
    says = f"number of seconds.*not {type(seconds).__name__}"
    with pytest.raises(errors.InvalidInput, match=says):
        client.submit("text", deadline=seconds)
    for wait in (job.result, lambda timeout: client.results([job], timeout=timeout)):
        with pytest.raises(errors.InvalidInput, match=says):
            wait(timeout=seconds)
    with pytest.raises(errors.InvalidInput, match=says):
        client.map(["text"], timeout=seconds)


@pytest.mark.parametrize("name", ["texts_per_job", "jobs_in_flight"])
@pytest.mark.parametrize("number", [0, -1, "5", 1.5, None])
def test_counts_of_map_must_be_whole_numbers(client: Client, name: str, number: Any) -> None:
    with pytest.raises(errors.InvalidInput, match=name):
        client.map(["text"], **{name: number})


def test_the_types_of_what_a_client_returns_are_public(client: Client) -> None:
    status = client.service_status()
    assert type(status) is sentq.ServiceStatus
    assert {type(queue) for queue in status.queues} == {sentq.QueueStatus}
    dead: sentq.DeadLetters = client.dead
    assert dead.count(sentq.Selection(codes=(sentq.DeadLetterCode.MALFORMED,))) == {}
