"""Batches as a client sends, reads and cancels them, with a Redis and without workers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest
import redis
from celery import Celery, chain, signals

from sentq import (
    Batch,
    BatchProgress,
    CallbackState,
    Client,
    JobStatus,
    Settings,
    errors,
)
from sentq.contract import BATCH_HEADER
from sentq.wire.ids import new_job_ids
from sentq.wire.steps import Request, ScriptCall
from tests.support.processes import RedisProcess, eventually

pytestmark = pytest.mark.redis


def _headers(server: redis.Redis, queue: str = "sentq.bulk") -> list[dict[str, Any]]:
    """Return the headers of the queued messages, the oldest first."""
    found: Any = server.lrange(queue, 0, -1)
    return [json.loads(raw)["headers"] for raw in reversed(found)]


def _texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


def test_the_jobs_of_a_batch_are_sent_in_order_and_known_by_their_places(
    client: Client, server: redis.Redis
) -> None:
    batch = client.batch(_texts(1203))
    headers = _headers(server)
    assert [each[BATCH_HEADER] for each in headers] == [f"{batch.id}:{n}" for n in range(1203)]
    assert [job.id for job in batch.jobs()] == [each["id"] for each in headers]
    assert batch.progress() == BatchProgress(id=batch.id, total=1203, is_closed=True)
    assert batch.progress().remaining == 1203
    assert next(batch.jobs()).status() is JobStatus.QUEUED


def test_other_messages_do_not_name_a_batch(client: Client, server: redis.Redis) -> None:
    client.submit_many(_texts(2), bulk=True)
    assert not any(BATCH_HEADER in each for each in _headers(server))


def test_a_batch_survives_its_process(client: Client, settings: Settings) -> None:
    batch = client.batch(iter(_texts(3)))
    with Client(settings) as other:
        found = other.batch_by_id(batch.id)
        assert found.progress().total == 3
        assert len(list(found.jobs())) == 3
        assert found.cancel() == 3
        assert batch.wait(timeout=5).cancelled == 3


def test_an_open_batch_takes_jobs_until_it_is_closed(client: Client) -> None:
    batch = client.open_batch()
    assert batch.progress() == BatchProgress(id=batch.id, total=0)
    assert batch.add(_texts(2), deadline=60) == 2
    assert client.batch_by_id(batch.id).add(iter([["a", "b"]]), bulk=False, local_only=True) == 1
    assert batch.progress() == BatchProgress(id=batch.id, total=3)
    batch.close()
    assert batch.progress().is_closed
    assert not batch.progress().is_complete
    with pytest.raises(errors.BatchClosed):
        batch.add(_texts(1))


def test_the_total_grows_while_jobs_are_sent(client: Client) -> None:
    batch = client.open_batch()
    totals = []

    def texts() -> Iterator[str]:
        for number in range(1600):
            if number % 400 == 0:
                totals.append(batch.progress().total)
            yield f"text {number}"

    assert batch.add(texts()) == 1600
    assert totals == sorted(totals)
    assert totals[-1] > 0
    assert not batch.progress().is_closed


def test_senders_of_one_batch_do_not_mix(client: Client, settings: Settings) -> None:
    batch = client.open_batch()
    with Client(settings) as other, ThreadPoolExecutor(2) as threads:
        counts = threads.map(
            lambda each: each.batch_by_id(batch.id).add(_texts(1300)), [client, other]
        )
        assert list(counts) == [1300, 1300]
    ids = [job.id for job in batch.jobs()]
    assert len(set(ids)) == 2600 == batch.progress().total


def test_a_batch_without_jobs_is_complete_at_once(client: Client) -> None:
    assert client.batch([]).wait(timeout=5).is_complete


def test_of_a_list_all_jobs_are_checked_before_the_first_one_is_sent(
    client: Client, server: redis.Redis
) -> None:
    with pytest.raises(errors.NotAString):
        client.batch([*_texts(600), 5])  # type: ignore[list-item]
    assert not server.keys("*")


def test_of_other_iterables_the_jobs_before_a_wrong_one_are_sent(client: Client) -> None:
    with pytest.raises(errors.EmptyJob) as caught:
        client.batch(iter([*_texts(1001), []]))
    assert caught.value.batch_id is not None
    batch = client.batch_by_id(caught.value.batch_id)
    assert batch.progress() == BatchProgress(id=batch.id, total=500)
    assert batch.add(_texts(2)) == 2
    batch.close()


@pytest.mark.parametrize("given", ["one text", 5])
def test_one_string_is_not_a_batch(client: Client, given: Any) -> None:
    with pytest.raises(errors.InvalidInput, match="several jobs"):
        client.batch(given)


@pytest.mark.parametrize("options", [{"deadline": -1}, {"deadline": "5"}, {"timeout": "soon"}])
def test_wrong_options_are_refused_before_a_batch_is_opened(
    client: Client, server: redis.Redis, options: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidInput):
        client.batch(_texts(1), **options)
    assert not server.keys("*")


@pytest.mark.parametrize("batch_id", ["", "x", "*", 5, None])
def test_the_id_of_a_batch_has_the_form_of_one(client: Client, batch_id: Any) -> None:
    with pytest.raises(errors.InvalidInput):
        client.batch_by_id(batch_id)


def test_an_unknown_batch_is_an_error(client: Client) -> None:
    batch = client.batch_by_id(new_job_ids(1)[0])
    calls: list[Callable[[], object]] = [batch.progress, batch.close, batch.cancel]
    calls.append(lambda: batch.add(["text"]))
    calls += [
        lambda: batch.wait(1),
        lambda: list(batch.results()),
        lambda: list(batch.as_completed()),
    ]
    for call in calls:
        with pytest.raises(errors.UnknownBatch):
            call()
    assert list(batch.jobs()) == []


# --- Capacity and faults -------------------------------------------------------------------


def test_sending_waits_for_capacity_and_sends_each_job_once(
    redis_server: RedisProcess, server: redis.Redis
) -> None:
    with (
        Client(broker_url=redis_server.url, max_queued_jobs=100) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        sent = thread.submit(client.batch, _texts(250))
        taken: list[str] = []
        while len(taken) < 250:
            eventually(lambda: server.llen("sentq.bulk"))
            found: Any = server.rpop("sentq.bulk", 100)
            taken += [json.loads(raw)["headers"]["id"] for raw in found]
        batch = sent.result(20)
        assert [job.id for job in batch.jobs()] == taken


def test_a_full_queue_ends_in_a_typed_error_after_the_timeout(redis_server: RedisProcess) -> None:
    with Client(broker_url=redis_server.url, max_queued_jobs=100) as client:
        with pytest.raises(errors.QueueFull) as caught:
            client.batch(_texts(250), timeout=0.3)
        assert caught.value.batch_id is not None
        assert client.batch_by_id(caught.value.batch_id).progress().total == 100


def test_an_unavailable_redis_is_a_typed_error(own_redis: RedisProcess) -> None:
    with Client(broker_url=own_redis.url) as client:
        batch = client.batch(_texts(2))
        own_redis.stop()
        with pytest.raises(errors.BrokerUnavailable):
            client.batch(_texts(2))
        with pytest.raises(errors.ResultsUnavailable):
            batch.progress()
        own_redis.start()
        assert batch.progress().total == 2


def test_a_step_whose_reply_was_lost_is_sent_once(
    client: Client, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = client.open_batch()
    perform = client._results.perform

    def lose_the_reply(request: Request) -> Any:
        if isinstance(request, ScriptCall):
            perform(request)
        return perform(request)

    monkeypatch.setattr(client._results, "perform", lose_the_reply)
    assert batch.add(_texts(700)) == 700
    assert server.llen("sentq.bulk") == batch.progress().total == 700


def test_large_jobs_go_in_several_steps(client: Client) -> None:
    batch = client.batch([["x" * 90_000] * 10] * 12)
    assert batch.progress() == BatchProgress(id=batch.id, total=12, is_closed=True)
    assert len({job.id[:23] for job in batch.jobs()}) == 1


# --- Sending through Celery ----------------------------------------------------------------


@pytest.fixture
def observed() -> Iterator[None]:
    """Listen to Celery's publish signal, as tracing libraries do."""

    def listen(**_: Any) -> None:
        """Do nothing."""

    signals.before_task_publish.connect(listen)
    yield
    signals.before_task_publish.disconnect(listen)


@pytest.mark.usefixtures("observed")
def test_jobs_that_celery_publishes_enter_the_batch(client: Client, server: redis.Redis) -> None:
    batch = client.batch(_texts(3))
    headers = _headers(server)
    assert [each[BATCH_HEADER] for each in headers] == [f"{batch.id}:{n}" for n in range(3)]
    assert [job.id for job in batch.jobs()] == [each["id"] for each in headers]
    assert batch.progress() == BatchProgress(id=batch.id, total=3, is_closed=True)
    assert next(batch.jobs()).status() is JobStatus.QUEUED
    assert batch.cancel() == 3


@pytest.mark.usefixtures("observed")
def test_a_job_that_celery_could_not_publish_is_counted_as_cancelled(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kombu.exceptions import OperationalError

    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("no broker")

    batch = client.open_batch()
    batch.add(_texts(2))
    monkeypatch.setattr("celery.app.amqp.AMQP.send_task_message", property(lambda _: fail))
    with pytest.raises(errors.BrokerUnavailable):
        batch.add(_texts(2))
    monkeypatch.undo()
    batch.close()
    assert batch.progress() == BatchProgress(id=batch.id, total=3, cancelled=1, is_closed=True)


@pytest.mark.usefixtures("observed")
def test_a_job_that_entered_a_batch_as_redis_went_away_is_cancelled_later(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kombu.exceptions import OperationalError

    def fail(*_: Any, **__: Any) -> None:
        own_redis.stop()
        raise OperationalError("no broker")

    with Client(broker_url=own_redis.url) as client:
        batch = client.open_batch()
        with monkeypatch.context() as patch:
            patch.setattr("celery.app.amqp.AMQP.send_task_message", property(lambda _: fail))
            with pytest.raises(errors.BrokerUnavailable):
                batch.add(_texts(2))
        own_redis.start()
        assert batch.progress() == BatchProgress(id=batch.id, total=1)
        batch.close()
        assert batch.wait(timeout=5) == BatchProgress(
            id=batch.id, total=1, cancelled=1, is_closed=True, is_complete=True
        )


# --- Cancelling ----------------------------------------------------------------------------


def test_a_cancelled_batch_is_complete(client: Client) -> None:
    batch = client.batch(_texts(1100))
    assert batch.cancel() == 1100
    assert batch.cancel() == 0
    assert batch.progress() == BatchProgress(
        id=batch.id, total=1100, cancelled=1100, is_closed=True, is_complete=True
    )
    results = list(batch.results(timeout=5))
    assert len(results) == 1100
    assert all(isinstance(each, errors.JobCancelled) for each in results)


def test_a_job_that_runs_is_not_cancelled_with_its_batch(
    client: Client, server: redis.Redis
) -> None:
    batch = client.batch(_texts(3))
    running = list(batch.jobs())[1]
    server.set(f"celery-task-meta-{running.id}", '{"status": "STARTED", "result": null}')
    assert batch.cancel() == 2
    assert batch.progress().remaining == 1
    assert running.status() is JobStatus.RUNNING


def test_single_jobs_of_a_batch_are_cancelled_by_their_ids(client: Client) -> None:
    batch = client.batch(_texts(501))
    last = list(batch.jobs())[-1]
    assert client.job(last.id).cancel()
    assert client.job(last.id).cancel()
    assert batch.progress().cancelled == 1
    ((job, outcome),) = islice(batch.as_completed(timeout=5), 1)
    assert job.id == last.id
    assert isinstance(outcome, errors.JobCancelled)


# --- Reading -------------------------------------------------------------------------------


def test_waiting_ends_with_a_typed_error_that_says_what_is_missing(client: Client) -> None:
    batch = client.open_batch()
    batch.add(_texts(2))
    with pytest.raises(errors.BatchTimeout, match="open, and 2 jobs") as caught:
        batch.wait(timeout=0.1)
    assert caught.value.batch_id == batch.id
    batch.close()
    for call in (lambda: batch.wait(0.1), lambda: list(batch.as_completed(0.1))):
        with pytest.raises(TimeoutError):
            call()


def test_jobs_are_yielded_as_they_end_also_while_the_batch_is_open(client: Client) -> None:
    batch = client.open_batch()
    batch.add(_texts(3))
    jobs = list(batch.jobs())
    ended = batch.as_completed(timeout=10)
    assert jobs[2].cancel()
    assert next(ended)[0].id == jobs[2].id
    assert jobs[0].cancel()
    assert next(ended)[0].id == jobs[0].id
    batch.add(["more"])
    batch.cancel()
    assert [job.id for job, _ in ended] == [
        job.id for job in batch.jobs() if job.id in {jobs[1].id, list(batch.jobs())[3].id}
    ]


def test_a_reader_of_an_open_batch_waits_for_further_jobs(client: Client) -> None:
    batch = client.open_batch()
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(lambda: [type(each) for each in batch.results(timeout=10)])
        batch.add(_texts(2))
        for job in batch.jobs():
            job.cancel()
        batch.add(_texts(1))
        assert not reading.done()
        batch.cancel()
        assert reading.result(20) == [errors.JobCancelled] * 3


def test_an_outcome_that_has_expired_does_not_stop_the_others(
    client: Client, server: redis.Redis
) -> None:
    batch = client.batch(_texts(3))
    jobs = list(batch.jobs())
    batch.cancel()
    server.delete(f"celery-task-meta-{jobs[1].id}", f"sentq-sent-{jobs[1].id[:23]}")
    kinds = [type(outcome) for _, outcome in batch.as_completed(timeout=5)]
    assert kinds == [errors.JobCancelled, errors.UnknownJob, errors.JobCancelled]


# --- Callbacks -----------------------------------------------------------------------------


@pytest.fixture
def app() -> Celery:
    return Celery("shop", set_as_current=False)


def test_a_callback_waits_with_its_batch(client: Client, app: Celery, server: redis.Redis) -> None:
    signature = app.signature("shop.store", args=("a",), kwargs={"b": 1}).set(queue="shop")
    batch = client.batch(_texts(1), then=signature)
    assert batch.progress().callback is CallbackState.WAITING
    stored = json.loads(server.hget(f"sentq-batch-{batch.id}", "callback") or "")
    assert (stored["task"], stored["args"], stored["kwargs"]) == ("shop.store", ["a"], {"b": 1})
    assert stored["options"]["queue"] == "shop"
    assert len(stored["options"]["task_id"]) == 36
    assert client.batch(_texts(1)).progress().callback is None


def _wrong_signatures() -> Iterator[object]:
    app = Celery("shop", set_as_current=False)
    task = app.signature("shop.store")
    yield from ("shop.store", 5, {}, {"task": 5}, chain(task, task))
    yield app.signature("shop.store", args=(object(),))
    yield app.signature("shop.store", args=("x" * 70_000,))


@pytest.mark.parametrize("then", [*_wrong_signatures()], ids=lambda each: type(each).__name__)
def test_other_callbacks_are_refused(client: Client, server: redis.Redis, then: object) -> None:
    with pytest.raises(errors.InvalidInput, match="then"):
        client.batch(_texts(1), then=then)
    assert not server.keys("*")


def test_a_callback_needs_one_redis(redis_server: RedisProcess, app: Celery) -> None:
    url = redis_server.url
    with Client(broker_url=url, result_url=url.replace("/0", "/1")) as client:
        with pytest.raises(errors.SettingsError, match="one Redis"):
            client.batch(_texts(1), then=app.signature("shop.store"))
        batch: Batch = client.batch(_texts(2))
        assert batch.cancel() == 2
        assert batch.wait(5).is_complete


def test_an_outage_while_waiting_is_survived(own_redis: RedisProcess) -> None:
    def ids(batch: Batch) -> Sequence[str]:
        return [job.id for job, _ in batch.as_completed(timeout=30)]

    with Client(broker_url=own_redis.url) as client, ThreadPoolExecutor(1) as thread:
        batch = client.batch(_texts(2))
        reading = thread.submit(ids, batch)
        with own_redis.client() as server:
            eventually(lambda: server.pubsub_channels("sentq-batch-*"), what="a reader")
        own_redis.stop()
        own_redis.start()
        batch.cancel()
        assert reading.result(40) == [job.id for job in batch.jobs()]
