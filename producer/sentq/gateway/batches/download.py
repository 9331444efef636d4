"""The results of a batch as JSON lines: one for each text, in the order of the upload."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Final

import orjson

from sentq.contract import JobOutcome, Outcome, Prediction
from sentq.contrib.problems import problem_of
from sentq.errors import JobError
from sentq.gateway.batches.records import BatchRecords
from sentq.gateway.client import GatewayClient
from sentq.gateway.closing import Closing
from sentq.gateway.errors import GatewayStopping

__all__ = ["result_lines"]

#: How many records of jobs are read in one step.
_PAGE_JOBS: Final = 1024


async def result_lines(
    client: GatewayClient, batch_id: str, first: int, closing: Closing
) -> AsyncGenerator[bytes, None]:
    """Yield the lines of the texts from the index `first` on, those of each job together.

    It waits for jobs that have not ended, and for the end of the upload.

    Raises:
        GatewayStopping: The gateway ends before the last line.
        UnknownBatch, ResultsUnavailable: The batch is kept no longer, or Redis is not available.
    """
    sizes = _JobSizes(BatchRecords(client, batch_id))
    place, index = await sizes.place_of(first)
    skipped = first - index
    async with aclosing(client.batch_outcomes(batch_id, place)) as outcomes:
        while True:
            outcome = None
            async with closing.interrupts():
                outcome = await anext(outcomes, None)
            if outcome is None:
                if closing.has_begun:
                    raise GatewayStopping("the gateway ends")
                return
            lines = list(_lines(outcome, await sizes.size_of(place), index))
            yield b"".join(lines[skipped:])
            place, index, skipped = place + 1, index + len(lines), 0


class _JobSizes:
    """How many texts each job of a batch has.

    Args:
        records: The records of the batch. Without any, each job has one text.
    """

    def __init__(self, records: BatchRecords) -> None:
        self._records = records
        self._first = 0
        self._page: Sequence[int] = ()

    async def size_of(self, place: int) -> int:
        """Return how many texts a job has."""
        if not self._first <= place < self._first + len(self._page):
            await self._read(place)
        return self._page[place - self._first] if self._page else 1

    async def place_of(self, index: int) -> tuple[int, int]:
        """Return the place of the job that has a text, and the index of its first text."""
        place, first_index = 0, 0
        while index > first_index:
            await self._read(place)
            if not self._page:
                break
            for size in self._page:
                if first_index + size > index:
                    return place, first_index
                place, first_index = place + 1, first_index + size
        return place, first_index

    async def _read(self, place: int) -> None:
        self._first = place
        self._page = [job.texts for job in await self._records.jobs(place, _PAGE_JOBS)]


def _lines(outcome: JobOutcome | JobError, texts: int, index: int) -> Iterator[bytes]:
    """Yield a line for each text of a job."""
    if isinstance(outcome, JobOutcome):
        for number, each in enumerate(outcome.outcomes):
            yield _line(index + number, _fields(each))
        return
    problem = problem_of(outcome)
    error = {"code": problem.type.rpartition(":")[2], "message": problem.detail}
    for number in range(texts):
        yield _line(index + number, {"error": error})


def _fields(outcome: Outcome) -> dict[str, object]:
    if isinstance(outcome, Prediction):
        return dict(outcome)
    return {"error": {"code": str(outcome.code), "message": outcome.message}}


def _line(index: int, fields: dict[str, object]) -> bytes:
    return orjson.dumps({"index": index, **fields}, option=orjson.OPT_APPEND_NEWLINE)
