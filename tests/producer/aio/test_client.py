"""`AsyncClient` keeps the promises of `Client`: with a real Redis, and results stored as a worker
does."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import sentq
from sentq import AsyncClient, AsyncJob, Client, JobOutcome, JobStatus, Prediction, Settings, errors
from sentq.connection.app import make_app
from sentq.job import JobHandle, id_of
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, dead_letter_fields
from sentq.wire.ids import new_job_ids
from sentq_worker.broker.results import ResultStore, failed, succeeded
from tests.producer.aio.conftest import RunInLoop, until
from tests.support.celery.site import closing_results
from tests.support.processes import RedisProcess


def _outcome(model: str) -> dict[str, object]:
    row = {"label": "positive", "score": 1.0, "scores": {"positive": 1.0}, "sentiment": 1.0}
    about = {"model": model, "revision": None, "backend": "test", "dtype": "none"}
    times = {"attempts": 1, "queued_ms": None, "inference_ms": 0.0}
    return about | times | {"outcomes": [row | {"tokens": 1, "windows": 1}]}


def _finish(settings: Settings, jobs: Sequence[JobHandle | str]) -> None:
    """Store outcomes as a worker does; the model is the id of the job."""
    ids = [id_of(job) for job in jobs]
    with closing_results(make_app(settings)) as app:
        ResultStore(app).store({job_id: succeeded(job_id, _outcome(job_id)) for job_id in ids})


def _messages(redis: RedisProcess, queue: str = "sentq") -> list[dict[str, Any]]:
    with redis.client() as client:
        messages = [json.loads(raw) for raw in client.lrange(queue, 0, -1)[::-1]]
    for message in messages:
        message["body"] = json.loads(base64.b64decode(message["body"]))
    return messages


# --- The same names ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"), [(AsyncClient, Client), (AsyncJob, sentq.Job)], ids=["client", "job"]
)
def test_names_and_parameters_are_those_of_the_client_that_blocks(ours: type, theirs: type) -> None:
    for name, method in inspect.getmembers(theirs, inspect.isfunction):
        if name.startswith("_"):
            continue
        own = getattr(ours, "aclose" if name == "close" else name)
        assert list(inspect.signature(own).parameters) == list(inspect.signature(method).parameters)


def test_importing_sentq_does_not_import_the_client_for_asyncio() -> None:
    program = "import sys, sentq; print('sentq.aio' in sys.modules); sentq.AsyncClient"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.strip() == b"False"
    with pytest.raises(AttributeError, match="no attribute 'AsyncServer'"):
        _ = sentq.AsyncServer


def test_a_client_may_be_made_without_an_event_loop_and_opens_no_connection(
    own_redis: RedisProcess,
) -> None:
    AsyncClient(broker_url=own_redis.url)
    with own_redis.client() as redis:
        assert len(redis.client_list()) == 1


# --- Sending ------------------------------------------------------------------------------------


def test_a_message_equals_that_of_the_client_that_blocks(
    run: RunInLoop, aclient: AsyncClient, client: Client, redis_server: RedisProcess
) -> None:
    options: dict[str, Any] = {"local_only": True, "key": "order 17"}

    async def main() -> str:
        async with aclient:
            return (await aclient.submit(["ümläut", "日本"], **options)).id

    job_id = run(main())
    client.submit(["ümläut", "日本"], local_only=True)
    ours, theirs = _messages(redis_server)
    assert ours["headers"]["id"] == job_id
    for message in (ours, theirs):
        message["headers"].update(id="", root_id="")
        message["properties"].update(delivery_tag="", correlation_id="")
    assert ours == theirs
    assert client.submit(["ümläut", "日本"], **options).id == job_id


def test_many_jobs_keep_their_order(
    run: RunInLoop, aclient: AsyncClient, redis_server: RedisProcess
) -> None:
    async def main() -> list[str]:
        async with aclient:
            assert await aclient.submit_many([]) == []
            return [job.id for job in await aclient.submit_many(f"text {i}" for i in range(1203))]

    ids = run(main())
    messages = _messages(redis_server)
    assert [message["headers"]["id"] for message in messages] == ids
    assert [message["body"][0][0] for message in messages] == [[f"text {i}"] for i in range(1203)]


def test_jobs_submitted_at_once_are_all_sent(
    run: RunInLoop, aclient: AsyncClient, redis_server: RedisProcess
) -> None:
    async def main() -> list[AsyncJob]:
        async with aclient:
            return await asyncio.gather(*(aclient.submit(f"text {i}") for i in range(500)))

    jobs = run(main())
    sent = {message["headers"]["id"]: message["body"][0][0] for message in _messages(redis_server)}
    assert sent == {job.id: [f"text {i}"] for i, job in enumerate(jobs)}


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        ([], errors.EmptyJob),
        (["x"] * 257, errors.TooManyTexts),
        (None, errors.NotAString),
        ("\ud800", errors.LoneSurrogate),
        ("x" * 100_001, errors.TextTooLong),
    ],
)
def test_invalid_input_is_rejected_before_sending(
    run: RunInLoop,
    aclient: AsyncClient,
    redis_server: RedisProcess,
    texts: Any,
    error: type[Exception],
) -> None:
    async def main() -> None:
        async with aclient:
            with pytest.raises(error):
                await aclient.submit(texts)

    run(main())
    with redis_server.client() as redis:
        assert redis.keys() == []


def test_arguments_of_the_wrong_kind_are_errors_at_once(aclient: AsyncClient) -> None:
    with pytest.raises(errors.InvalidInput, match="map takes several texts"):
        aclient.map("text")
    with pytest.raises(errors.InvalidInput, match="jobs_in_flight"):
        aclient.map(["text"], jobs_in_flight=0)
    with pytest.raises(errors.InvalidInput, match="a Job or the id of one"):
        aclient.results([5])  # type: ignore[list-item]
    with pytest.raises(errors.InvalidInput, match="number of seconds"):
        aclient.results(["id"], timeout="5")  # type: ignore[arg-type]


def test_a_full_queue_and_another_job_under_a_key_are_typed_errors(
    run: RunInLoop, redis_server: RedisProcess
) -> None:
    async def main() -> None:
        async with AsyncClient(broker_url=redis_server.url, max_queued_jobs=2) as client:
            first = await client.submit("a", key="k")
            assert (await client.submit("a", key="k")).id == first.id
            with pytest.raises(errors.KeyConflict):
                await client.submit("b", key="k")
            with pytest.raises(errors.QueueFull, match="no worker reports"):
                await client.submit_many(["b", "c"])
            assert (await client.backlog()).waiting_jobs == {"sentq": 1, "sentq.bulk": 0}

    run(main())


def test_jobs_are_sent_by_celery_when_results_are_in_another_database(
    run: RunInLoop, redis_server: RedisProcess
) -> None:
    other_database = redis_server.url.removesuffix("/0") + "/1"

    async def main() -> list[str]:
        async with AsyncClient(broker_url=redis_server.url, result_url=other_database) as client:
            jobs = await client.submit_many(["one", "two"])
            assert {await job.status() for job in jobs} == {JobStatus.QUEUED}
            assert await jobs[0].cancel()
            assert await jobs[0].status() is JobStatus.CANCELLED
            assert (await client.service_status()).queues[0].waiting_jobs == 2
            assert (await client.backlog()).total_jobs == 2
            assert await client.dead.count() == {}
            with pytest.raises(errors.WaitTimeout, match="at most 1 jobs before it"):
                await jobs[1].result(timeout=0.1)
            return [job.id for job in jobs]

    ids = run(main())
    assert [message["headers"]["id"] for message in _messages(redis_server)] == ids


def test_a_job_is_sent_for_later(
    aclient: AsyncClient, redis_server: RedisProcess, run: RunInLoop
) -> None:
    async def main() -> None:
        async with aclient:
            at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
            first = await aclient.submit("a", delay=3600)
            second, third = await aclient.submit_many(["b", "c"], at=at)
            assert await first.status() is JobStatus.SCHEDULED
            assert await second.due_at() == at
            with pytest.raises(errors.WaitTimeout, match="it is scheduled for "):
                await third.result(timeout=0)
            assert await third.cancel()
            assert await third.status() is JobStatus.CANCELLED
            for options in ({"delay": -1}, {"at": datetime.now(UTC), "delay": 1}):
                with pytest.raises(errors.InvalidInput):
                    await aclient.submit("text", **options)
            with redis_server.client() as redis:
                redis.zadd("sentq.scheduled", {"one": 1})
            assert (await aclient.backlog()).scheduled_jobs == 1
            assert (await aclient.service_status()).scheduled_jobs == 1

    run(main())


# --- Outcomes -----------------------------------------------------------------------------------


def test_an_awaited_job_receives_its_outcome_when_it_is_stored(
    run: RunInLoop, aclient: AsyncClient, settings: Settings, redis_server: RedisProcess
) -> None:
    async def main() -> None:
        async with aclient:
            job, other = await aclient.submit_many(["text", "other"])
            waiting = [asyncio.create_task(job.result(timeout=30)) for _ in range(3)]
            with redis_server.client() as redis:
                await until(lambda: redis.pubsub_numsub(f"celery-task-meta-{job.id}")[0][1])
                assert redis.pubsub_numpat() == 0
            _finish(settings, [job])
            for each in await asyncio.gather(*waiting):
                assert each.model == job.id
                assert isinstance(each.outcomes[0], Prediction)
            assert await job.status() is JobStatus.DONE
            assert (await job.result()).model == job.id
            assert await other.status() is JobStatus.QUEUED

    run(main())


def test_outcomes_are_read_in_order_with_errors_in_their_places(
    run: RunInLoop, aclient: AsyncClient, settings: Settings
) -> None:
    async def main() -> None:
        async with aclient:
            good, bad, late = await aclient.submit_many(["good", "bad", "late"])
            unknown = new_job_ids(1)[0]
            _finish(settings, [good])
            with closing_results(make_app(settings)) as app:
                ResultStore(app).store({bad.id: failed(bad.id, LookupError("reason"))})
            jobs: list[JobHandle | str] = [bad, late.id, unknown, good]
            found = [each async for each in aclient.results(jobs, timeout=0.2)]
            assert [type(each) for each in found] == [
                errors.JobFailed,
                errors.WaitTimeout,
                errors.UnknownJob,
                JobOutcome,
            ]

    run(main())


def test_a_wait_timeout_says_what_the_client_that_blocks_says(
    run: RunInLoop, aclient: AsyncClient, client: Client
) -> None:
    async def main() -> tuple[str, errors.WaitTimeout]:
        async with aclient:
            job = await aclient.submit("text")
            waits = (job.result(timeout=0.2) for _ in range(50))
            found = await asyncio.gather(*waits, return_exceptions=True)
            assert len({str(each) for each in found}) == 1
            (error,) = {each for each in found[:1] if isinstance(each, errors.WaitTimeout)}
            return job.id, error

    job_id, error = run(main())
    with pytest.raises(errors.WaitTimeout) as theirs:
        client.job(job_id).result(timeout=0.1)
    assert str(error) == str(theirs.value)
    assert vars(error) == vars(theirs.value)
    assert isinstance(error, TimeoutError)


def test_a_cancelled_job_tells_those_who_wait_for_it(run: RunInLoop, aclient: AsyncClient) -> None:
    async def main() -> None:
        async with aclient:
            job = await aclient.submit("text")
            waiting = asyncio.create_task(job.result(timeout=30))
            await asyncio.sleep(0.1)
            assert await job.cancel()
            assert await job.cancel()
            with pytest.raises(errors.JobCancelled):
                await waiting
            with pytest.raises(errors.UnknownJob):
                await aclient.job(new_job_ids(1)[0]).cancel()

    run(main())


def test_sealed_texts_and_outcomes_are_those_of_the_client_that_blocks(
    run: RunInLoop, redis_server: RedisProcess
) -> None:
    pytest.importorskip("cryptography")
    keys = [base64.b64encode(bytes(32)).decode()]

    async def main() -> str:
        async with AsyncClient(broker_url=redis_server.url, encryption_keys=keys) as client:
            return (await client.submit("CANARY", key="k")).id

    job_id = run(main())
    (message,) = _messages(redis_server)
    assert "CANARY" not in json.dumps(message)
    with Client(broker_url=redis_server.url, encryption_keys=keys) as client:
        assert client.submit("CANARY", key="k").id == job_id


# --- Streams ------------------------------------------------------------------------------------


async def _texts(count: int) -> AsyncIterator[str]:
    for number in range(count):
        await asyncio.sleep(0)
        yield f"text {number}"


def test_map_waits_for_the_oldest_job_before_it_sends_too_many(
    run: RunInLoop, aclient: AsyncClient, settings: Settings, redis_server: RedisProcess
) -> None:
    async def main() -> None:
        async with aclient:
            stream = aclient.map(_texts(100), texts_per_job=1, jobs_in_flight=5, timeout=30)
            first = asyncio.ensure_future(anext(stream))
            await until(lambda: len(_messages(redis_server, "sentq.bulk")) == 5)
            await asyncio.sleep(0.1)
            messages = _messages(redis_server, "sentq.bulk")
            assert len(messages) == 5
            _finish(settings, [each["headers"]["id"] for each in messages])
            assert isinstance(await first, Prediction)
            await stream.aclose()

    run(main())


def test_a_stream_of_invalid_texts_lets_other_tasks_run(
    run: RunInLoop, aclient: AsyncClient
) -> None:
    async def main() -> None:
        async with aclient:
            ran = 0

            async def other() -> None:
                nonlocal ran
                while True:
                    ran += 1
                    await asyncio.sleep(0)

            task = asyncio.create_task(other())
            found = [each async for each in aclient.map([None] * 2000)]  # type: ignore[list-item]
            task.cancel()
            await asyncio.wait([task])
            assert len(found) == 2000
            assert ran > 10

    run(main())


# --- Operators ----------------------------------------------------------------------------------


def test_the_status_of_the_service_is_that_of_the_client_that_blocks(
    run: RunInLoop, aclient: AsyncClient, client: Client
) -> None:
    async def main() -> tuple[sentq.ServiceStatus, sentq.Backlog]:
        async with aclient:
            await aclient.submit("text")
            return await aclient.service_status(), await aclient.backlog()

    status, backlog = run(main())
    assert type(status) is sentq.ServiceStatus
    theirs = client.service_status()
    assert [(each.name, each.waiting_jobs) for each in status.queues] == [
        (each.name, each.waiting_jobs) for each in theirs.queues
    ]
    assert backlog == client.backlog()


def test_dead_letters_are_read_retried_and_dropped(
    run: RunInLoop, aclient: AsyncClient, client: Client, redis_server: RedisProcess
) -> None:
    job = client.submit("text")
    with redis_server.client() as redis:
        message = redis.rpop("sentq")
        for code in ("worker_lost", *["malformed"] * 120):
            raw = message if code == "worker_lost" else b"junk"
            fields = dead_letter_fields(code=code, reason="r", message=raw, job_id=job.id)
            redis.execute_command("XADD", DEAD_LETTERS_KEY, "*", *fields)

    async def main() -> None:
        async with aclient:
            assert await aclient.dead.count() == client.dead.count()
            lost = [each async for each in aclient.dead.entries(sentq.Selection(("worker_lost",)))]
            assert lost == list(client.dead.entries(sentq.Selection(("worker_lost",))))
            assert await aclient.dead.get(lost[0].id) == lost[0]
            assert await aclient.dead.get("no id") is None
            assert aclient.dead.texts(lost[0]) == ["text"]
            assert await aclient.dead.retry(lost[0]) is sentq.RetryResult.RETRIED
            rest = [each.id async for each in aclient.dead.entries()]
            assert len(rest) == 120
            assert await aclient.dead.drop(rest) == 120

    run(main())
    assert len(_messages(redis_server)) == 1
