"""Batches of the client for asyncio: the names and promises of the client that blocks."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from sentq import AsyncBatch, AsyncClient, Batch, BatchProgress, Client, errors
from tests.producer.aio.conftest import RunInLoop

pytestmark = pytest.mark.redis


def _texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


def test_names_and_parameters_are_those_of_the_batch_that_blocks() -> None:
    for name, method in inspect.getmembers(Batch, inspect.isfunction):
        if not name.startswith("_"):
            own = inspect.signature(getattr(AsyncBatch, name))
            assert list(own.parameters) == list(inspect.signature(method).parameters), name


def test_a_batch_is_sent_read_and_cancelled(
    run: RunInLoop, aclient: AsyncClient, client: Client
) -> None:
    async def main() -> str:
        async with aclient:
            batch = await aclient.batch(_texts(1203))
            assert await batch.progress() == BatchProgress(id=batch.id, total=1203, is_closed=True)
            jobs = [job async for job in batch.jobs()]
            ended = batch.as_completed(timeout=20)
            await jobs[7].cancel()
            job, outcome = await anext(ended)
            assert job.id == jobs[7].id
            assert isinstance(outcome, errors.JobCancelled)
            assert await batch.cancel() == 1202
            assert len([job async for job, _ in ended]) == 1202
            assert (await batch.wait(timeout=20)).cancelled == 1203
            assert len([outcome async for outcome in batch.results(timeout=20)]) == 1203
            return batch.id

    batch_id = run(main())
    assert client.batch_by_id(batch_id).progress().is_complete


def test_an_open_batch_is_filled_part_by_part(run: RunInLoop, aclient: AsyncClient) -> None:
    async def main() -> None:
        async with aclient:
            batch = await aclient.open_batch()
            assert await batch.add(_texts(3)) == 3
            waiting = asyncio.create_task(batch.wait(timeout=20))
            await batch.close()
            await batch.cancel()
            assert (await waiting).cancelled == 3
            with pytest.raises(errors.BatchClosed):
                await batch.add(_texts(1))
            with pytest.raises(errors.BatchTimeout):
                await (await aclient.open_batch()).wait(timeout=0.1)

    run(main())


def test_jobs_are_yielded_as_they_end(run: RunInLoop, aclient: AsyncClient) -> None:
    async def main() -> None:
        async with aclient:
            jobs = await aclient.submit_many(_texts(1100))
            ended = aclient.as_completed(jobs, timeout=20)
            for number in (700, 3):
                await jobs[number].cancel()
                job, outcome = await anext(ended)
                assert job.id == jobs[number].id
                assert isinstance(outcome, errors.JobCancelled)
            with pytest.raises(errors.WaitTimeout):
                _ = [job async for job in aclient.as_completed(jobs[:1], timeout=0.1)]
            await asyncio.gather(*(job.cancel() for job in jobs))
            assert len([job async for job, _ in ended]) == 1098

    run(main())
