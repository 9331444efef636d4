"""Callers of `AsyncClient` that are cancelled, and a Redis that is killed, while a real worker
answers: each text is numbered, and each outcome must be that of its text."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from sentq import AsyncClient, Outcome, SentqError
from tests.producer.aio.conftest import RunInLoop, until
from tests.support.processes import RedisProcess, WorkerProcess, worker_environment
from tests.support.workers.standin import has_hash_scores

pytestmark = pytest.mark.process

_TEXTS_AT_ONCE = 200

#: The name of a client's connections to Redis.
_NAME = "sentq-cancelled"


async def _score(client: AsyncClient, text: str) -> bool:
    outcome = await (await client.submit(text)).result(timeout=60)
    assert has_hash_scores(outcome, text), "the outcome of another text"
    return True


async def _cancelled_at_random(client: AsyncClient, count: int) -> Counter[str]:
    """Score texts, and cancel most callers at a random moment; count how they ended.

    A third is cancelled at once, a third within the time that as many texts take without that, and
    a third after four times as long, if they are not scored yet.
    """
    ended: Counter[str] = Counter()
    chance = random.Random(5)
    started_s = time.monotonic()
    await asyncio.gather(*(_score(client, f"timed {i}") for i in range(_TEXTS_AT_ONCE)))
    usual_s = time.monotonic() - started_s

    async def one(number: int) -> None:
        call = asyncio.create_task(_score(client, f"{number} of {count}"))
        await asyncio.sleep(usual_s * chance.choice([0, chance.random(), 4]))
        call.cancel()
        try:
            how = "scored" if await call else ""
        except asyncio.CancelledError:
            how = "cancelled"
        ended[how] += 1

    for first in range(0, count, _TEXTS_AT_ONCE):
        numbers = range(first, min(count, first + _TEXTS_AT_ONCE))
        await asyncio.gather(*map(one, numbers))
    return ended


def _tasks_of_callers() -> int:
    """Return how many tasks there are beside the client's own, which are one of each name: the
    connection for notices is made when a caller first waits."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    own = [name for name in names if name.startswith("sentq-")]
    assert len(own) == len(set(own)), own
    return len(names) - len(own)


@pytest.mark.parametrize(
    "count", [500, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.long])]
)
def test_cancelled_callers_leave_no_reply_for_others_no_connection_and_no_task(
    run: RunInLoop, scored_redis: RedisProcess, count: int
) -> None:
    async def main() -> None:
        with scored_redis.client() as redis:

            def connections() -> int:
                # Workers open and close connections of theirs meanwhile.
                return sum(each["name"] == _NAME for each in redis.client_list())

            async with AsyncClient(broker_url=f"{scored_redis.url}?client_name={_NAME}") as client:
                assert await _score(client, "before")
                tasks = _tasks_of_callers()
                ended = await _cancelled_at_random(client, count)
                assert ended.total() == count
                assert min(ended["scored"], ended["cancelled"]) > count / 20, ended
                # After all of this, every outcome is that of its own text.
                assert all(
                    await asyncio.gather(*(_score(client, f"after {i}") for i in range(200)))
                )
                assert _tasks_of_callers() == tasks
                # The one for notices may just be opened again: outcomes are read without it too.
                assert 1 <= connections() <= 2
                await until(lambda: not redis.pubsub_channels("celery-task-meta-*"))
            await until(lambda: connections() == 0)

    run(asyncio.wait_for(main(), 150))


def test_a_stream_through_a_worker_yields_outcomes_in_order(
    run: RunInLoop, scored_redis: RedisProcess
) -> None:
    texts = [f"streamed {i}" for i in range(300)]

    async def numbered() -> list[Outcome]:
        async with AsyncClient(broker_url=scored_redis.url) as client:

            async def source() -> AsyncIterator[str]:
                for text in texts:
                    yield text

            map_ = partial(client.map, texts_per_job=20, jobs_in_flight=5)
            ordinary = [each async for each in map_(texts)]
            assert [each async for each in map_(source())] == ordinary
            return ordinary

    outcomes = run(numbered())
    assert has_hash_scores(
        {
            "outcomes": [each.model_dump() for each in outcomes],
            "model": "m",
            "revision": None,
            "backend": "b",
            "dtype": "d",
            "attempts": 1,
            "queued_ms": None,
            "inference_ms": 0,
        },
        *texts,
    )


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["stop", "kill"])
def test_a_redis_that_ends_and_comes_back_ends_each_call_in_an_outcome_or_a_typed_error(
    run: RunInLoop, own_redis: RedisProcess, tmp_path: Path, tiny_model: Path, signal: str
) -> None:
    environment = worker_environment(own_redis.url, tiny_model) | {"STANDIN_DELAY_S": "0.05"}
    worker = WorkerProcess(tmp_path, environment, ("tests.support.workers.standin",))
    worker.wait_until_ready()

    async def main() -> Counter[str]:
        async with AsyncClient(broker_url=own_redis.url) as client:
            ended: Counter[str] = Counter()

            async def one(number: int) -> None:
                await asyncio.sleep(number / 500)
                try:
                    how = "scored" if await _score(client, f"number {number}") else ""
                except SentqError as error:
                    how = type(error).__name__
                ended[how] += 1

            calls = [asyncio.create_task(one(number)) for number in range(1000)]
            await asyncio.sleep(0.7)
            getattr(own_redis, signal)()
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own_redis.start)
            await asyncio.gather(*calls)
            assert await _score(client, "after")
            return ended

    try:
        ended = run(asyncio.wait_for(main(), 150))
    finally:
        worker.stop()
    assert ended.total() == 1000
    assert ended["scored"] > 100, ended
    assert len(ended) > 1, ended
