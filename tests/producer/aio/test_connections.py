"""The connections of `AsyncClient`: how many, when they close, and what happens if they break."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from sentq import AsyncClient, JobStatus, errors
from sentq.connection.app import make_app
from sentq_worker.broker.results import ResultStore, succeeded
from tests.producer.aio.conftest import RunInLoop, until
from tests.producer.aio.test_client import _finish
from tests.support.celery.site import closing_results
from tests.support.processes import RedisProcess, eventually


def _connections(server: RedisProcess) -> int:
    """Return how many connections others than this one has."""
    with server.client() as redis:
        return len(redis.client_list()) - 1


def test_two_thousand_awaited_jobs_share_two_connections_and_none_is_left(
    run: RunInLoop, own_redis: RedisProcess
) -> None:
    async def main() -> None:
        # On a busy machine a turn of the loop with so many tasks takes seconds.
        client = AsyncClient(broker_url=own_redis.url, connect_timeout_s=30, socket_timeout_s=30)
        async with client:
            jobs = await asyncio.gather(*(client.submit(f"text {i}") for i in range(2000)))
            waiting = [asyncio.create_task(job.result(timeout=60)) for job in jobs]
            with own_redis.client() as redis:
                await until(lambda: len(redis.pubsub_channels()) == 2000)
            assert _connections(own_redis) == 2
            _finish(client._settings, jobs)
            for job, outcome in zip(jobs, await asyncio.gather(*waiting), strict=True):
                assert outcome.model == job.id
            with own_redis.client() as redis:
                await until(lambda: not redis.pubsub_channels())
        await until(lambda: _connections(own_redis) == 0)

    run(main())


def test_cancelling_jobs_needs_no_further_connection(
    run: RunInLoop, own_redis: RedisProcess
) -> None:
    async def main() -> None:
        async with AsyncClient(broker_url=own_redis.url) as client:
            jobs = await client.submit_many(["text"] * 20)
            assert all(await asyncio.gather(*(job.cancel() for job in jobs)))
            assert _connections(own_redis) == 1
        await until(lambda: _connections(own_redis) == 0)

    run(main())


def test_connections_and_the_thread_of_celery_end_with_the_client(
    run: RunInLoop, own_redis: RedisProcess
) -> None:
    other_database = own_redis.url.removesuffix("/0") + "/1"

    async def main() -> None:
        async with AsyncClient(broker_url=own_redis.url, result_url=other_database) as client:
            await asyncio.gather(*(client.submit(f"text {i}") for i in range(50)))
            assert _connections(own_redis) > 2
        await until(lambda: _connections(own_redis) == 0)

    def threads() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name.startswith("sentq")]

    run(main())
    eventually(lambda: not threads(), what="the end of the thread")


def test_a_closed_client_can_be_used_again(run: RunInLoop, own_redis: RedisProcess) -> None:
    async def main() -> None:
        client = AsyncClient(broker_url=own_redis.url)
        job = await client.submit("text")
        await client.aclose()
        assert await job.status() is JobStatus.QUEUED
        await client.aclose()
        await client.aclose()

    run(main())
    eventually(lambda: _connections(own_redis) == 0)


def test_closing_ends_callers_that_wait_with_a_typed_error(
    run: RunInLoop, redis_server: RedisProcess
) -> None:
    async def main() -> None:
        client = AsyncClient(broker_url=redis_server.url)
        job = await client.submit("text")
        waiting = [asyncio.create_task(job.result()) for _ in range(3)]
        await asyncio.sleep(0.1)
        await client.aclose()
        for each in waiting:
            with pytest.raises(errors.ResultsUnavailable, match="closed"):
                await each

    run(main())


def test_one_client_serves_one_loop_after_another(run: RunInLoop, own_redis: RedisProcess) -> None:
    client = AsyncClient(broker_url=own_redis.url)

    async def use() -> None:
        job = await client.submit("text")
        with pytest.raises(errors.WaitTimeout):
            await job.result(timeout=0.05)

    async def main(*, closes: bool) -> None:
        await use()
        if closes:
            await client.aclose()

    # The end of a loop cancels its tasks. They close their connections, without any aclose().
    for _ in range(2):
        asyncio.run(main(closes=False))
        eventually(lambda: _connections(own_redis) == 0)
    run(main(closes=True))


def test_one_client_serves_two_loops_in_two_threads(
    run: RunInLoop, own_redis: RedisProcess
) -> None:
    client = AsyncClient(broker_url=own_redis.url)
    is_in_use, may_end = threading.Event(), threading.Event()
    found: list[int] = []

    async def other() -> None:
        jobs = await asyncio.gather(*(client.submit(f"other {i}") for i in range(100)))
        statuses = await asyncio.gather(*(job.status() for job in jobs))
        found.append(statuses.count(JobStatus.QUEUED))
        is_in_use.set()
        await until(may_end.is_set)

    async def main() -> None:
        jobs = await asyncio.gather(*(client.submit(f"text {i}") for i in range(100)))
        await until(is_in_use.is_set)
        assert _connections(own_redis) == 2
        _finish(client._settings, jobs)
        outcomes = await asyncio.gather(*(job.result(timeout=20) for job in jobs))
        assert [each.model for each in outcomes] == [job.id for job in jobs]
        await client.aclose()
        await until(lambda: _connections(own_redis) == 0)

    thread = threading.Thread(target=lambda: asyncio.run(other()))
    thread.start()
    run(main())
    may_end.set()
    thread.join(20)
    assert found == [100]


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
def test_a_connection_that_is_cut_is_opened_again(
    run: RunInLoop, redis_server: RedisProcess, kind: str
) -> None:
    async def main() -> None:
        async with AsyncClient(broker_url=redis_server.url) as client:
            job = await client.submit("text")
            waiting = asyncio.create_task(job.result(timeout=30))
            with redis_server.client() as redis:
                await until(redis.pubsub_channels)
                redis.execute_command("CLIENT", "KILL", "TYPE", kind)
                await until(redis.pubsub_channels)
            assert await job.status() is JobStatus.QUEUED
            _finish(client._settings, [job])
            assert (await waiting).model == job.id

    run(main())


def test_an_unavailable_redis_is_a_typed_error_and_is_used_again_when_it_is_back(
    run: RunInLoop, own_redis: RedisProcess
) -> None:
    async def main() -> None:
        async with AsyncClient(broker_url=own_redis.url) as client:
            job = await client.submit("before")
            own_redis.stop()
            for _ in range(2):
                with pytest.raises(errors.BrokerUnavailable):
                    await client.submit("during the outage")
                with pytest.raises(errors.ResultsUnavailable, match="`sentq dev` starts one"):
                    await job.status()
                with pytest.raises(errors.BrokerUnavailable, match="`sentq dev` starts one"):
                    await client.service_status()
            own_redis.start()
            assert await job.status() is JobStatus.QUEUED
            assert await (await client.submit("after")).status() is JobStatus.QUEUED

    run(main())


@pytest.mark.slow
def test_a_redis_that_freezes_is_an_error_for_all_who_wait_within_five_seconds(
    run: RunInLoop, own_redis: RedisProcess
) -> None:
    process = own_redis.process
    assert process is not None

    async def main() -> None:
        async with AsyncClient(broker_url=own_redis.url) as client:
            await client.submit("before")
            process.send_signal(signal.SIGSTOP)
            try:
                started = time.monotonic()
                calls = []
                for number in range(10):
                    calls.append(asyncio.create_task(client.submit(f"frozen {number}")))
                    await asyncio.sleep(0.05)
                found = await asyncio.gather(*calls, return_exceptions=True)
                assert time.monotonic() - started < 5
                assert {type(each) for each in found} == {errors.BrokerUnavailable}
            finally:
                process.send_signal(signal.SIGCONT)
            assert await (await client.submit("after")).status() is JobStatus.QUEUED

    run(main())


def test_callers_that_wait_survive_a_restart_of_redis(
    run: RunInLoop, own_redis: RedisProcess
) -> None:
    async def main() -> None:
        async with AsyncClient(broker_url=own_redis.url) as client:
            jobs = await client.submit_many(f"text {i}" for i in range(200))
            waiting = [asyncio.create_task(job.result(timeout=60)) for job in jobs]
            with own_redis.client() as redis:
                await until(lambda: len(redis.pubsub_channels()) == 200)
            own_redis.stop()
            own_redis.start()
            _finish(client._settings, jobs)
            for job, outcome in zip(jobs, await asyncio.gather(*waiting), strict=True):
                assert outcome.model == job.id

    run(main())


def test_an_outcome_stored_at_any_moment_is_not_missed(
    run: RunInLoop, redis_server: RedisProcess
) -> None:
    async def main() -> None:
        async with AsyncClient(broker_url=redis_server.url) as client:
            loop = asyncio.get_running_loop()
            with closing_results(make_app(client._settings)) as app:
                store = ResultStore(app)
                for delay_s in (0, 0.0005, 0.001, 0.002, 0.005):
                    job = await client.submit("text")
                    outcome = {job.id: succeeded(job.id, _document(job.id))}
                    stored = loop.run_in_executor(None, _later, delay_s, store, outcome)
                    assert (await job.result(timeout=30)).model == job.id
                    await stored

    run(main())


def _later(delay_s: float, store: ResultStore, outcome: dict[str, bytes]) -> None:
    time.sleep(delay_s)
    store.store(outcome)


def _document(model: str) -> dict[str, object]:
    about = {"model": model, "revision": None, "backend": "test", "dtype": "none"}
    return about | {"outcomes": [], "attempts": 1, "queued_ms": None, "inference_ms": 0.0}


def test_if_one_connection_fails_for_good_the_other_is_closed_and_both_are_made_anew(
    run: RunInLoop, own_redis: RedisProcess
) -> None:
    async def main() -> None:
        async with AsyncClient(broker_url=own_redis.url) as client:
            job = await client.submit("text")
            with pytest.raises(errors.WaitTimeout):
                await job.result(timeout=0.1)
            (task,) = (each for each in asyncio.all_tasks() if each.get_name() == "sentq-notices")
            task.cancel()
            await asyncio.wait([task])
            assert await job.status() is JobStatus.QUEUED
            await until(lambda: _connections(own_redis) == 1)

    run(asyncio.wait_for(main(), 60))


def test_a_transport_that_is_closed_already_is_a_lost_connection(
    run: RunInLoop, own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As uvloop does.
    failures = [RuntimeError("the handler is closed")]
    send = AbstractConnection.send_packed_command

    async def fail_once(self: AbstractConnection, *args: Any, **options: Any) -> None:
        if failures:
            raise failures.pop()
        await send(self, *args, **options)

    async def main() -> None:
        async with AsyncClient(broker_url=own_redis.url) as client:
            job = await client.submit("text")
            monkeypatch.setattr(AbstractConnection, "send_packed_command", fail_once)
            assert await job.status() is JobStatus.QUEUED
            assert not failures
            failures.append(RuntimeError("the handler is closed"))
            waiting = asyncio.create_task(job.result(timeout=30))
            await until(lambda: not failures)
            _finish(client._settings, [job])
            assert (await waiting).outcomes

    run(asyncio.wait_for(main(), 60))
