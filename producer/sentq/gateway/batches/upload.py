"""An upload becomes one batch, in steps: so many jobs are checked, recorded and sent together.

    lines ── JobCutter ──▶ jobs ── a step ──▶ compare, or record and send ──▶ batch

Jobs are cut by the texts alone. So an upload that is repeated has the same jobs at the same places:
those that the batch has are compared, and the others are sent. What is kept in memory is one step.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import orjson

from sentq.contract import Detail, Limits, message_bytes
from sentq.errors import KeyConflict
from sentq.gateway.batches.recent import record_recent_batch
from sentq.gateway.batches.records import BatchRecords, JobRecord
from sentq.gateway.client import GatewayClient
from sentq.gateway.closing import Closing
from sentq.gateway.errors import GatewayStopping
from sentq.gateway.idempotency import Attempt
from sentq.gateway.keys.limits import RateLimits, tokens_of

__all__ = ["ATTEMPT_S", "BatchUpload", "JobCutter"]

#: A step has so many jobs, or characters, and the job that exceeds them; or what has arrived within
#: so many seconds.
_STEP_JOBS: Final = 128
_STEP_CHARS: Final = 1024 * 1024
_STEP_S: Final = 5.0

#: How long an attempt goes on without being renewed, and how often that is done, in seconds.
ATTEMPT_S: Final = 30.0
_RENEW_S: Final = 5.0

#: How long a step waits for capacity of the queue, in seconds: shorter than the attempt goes on.
#: Meanwhile nothing is read.
_CAPACITY_S: Final = 30.0

#: The longest pause while a key has reached its limit, in seconds.
_LONGEST_PAUSE_S: Final = 5.0

#: The bytes of a message without texts, those between two texts, and the most bytes of a character
#: and beside each text.
_EMPTY_BYTES: Final = message_bytes([])
_SEPARATOR_BYTES: Final = message_bytes(["", ""]) - 2 * message_bytes([""]) + _EMPTY_BYTES
_BYTES_PER_CHAR: Final = 12
_BYTES_PER_TEXT: Final = 4


class JobCutter:
    """Cuts texts into jobs.

    Args:
        limits: The limits of a job.
        texts_per_job: Most texts of a job.
    """

    def __init__(self, limits: Limits, texts_per_job: int) -> None:
        self._most_texts = min(texts_per_job, limits.texts_per_job)
        self._most_bytes = limits.bytes_per_message
        self._texts: list[str] = []
        #: At most so many bytes has the message of these texts.
        self._bytes = _EMPTY_BYTES
        #: So many of these texts were counted, and the message of them has so many bytes.
        self._counted = 0
        self._counted_bytes = _EMPTY_BYTES

    def add(self, text: str) -> list[str] | None:
        """Take a text; return the texts of the job before it, if that is complete."""
        size_bytes = len(text) * _BYTES_PER_CHAR + _BYTES_PER_TEXT
        if self._bytes + size_bytes > self._most_bytes:
            # The bound is too high for most texts: count.
            size_bytes = message_bytes([text])
            self._bytes = self._count()
        complete = None
        is_full = len(self._texts) >= self._most_texts
        if is_full or (self._texts and self._bytes + size_bytes > self._most_bytes):
            complete = self.rest()
        self._texts.append(text)
        self._bytes += size_bytes
        return complete

    def rest(self) -> list[str]:
        """Return the texts of the job that is not complete."""
        rest, self._texts, self._bytes = self._texts, [], _EMPTY_BYTES
        self._counted, self._counted_bytes = 0, _EMPTY_BYTES
        return rest

    def _count(self) -> int:
        """Return how many bytes the message of the texts has. Each text is read once."""
        added = self._texts[self._counted :]
        if added:
            separator_bytes = _SEPARATOR_BYTES if self._counted else 0
            self._counted_bytes += separator_bytes + message_bytes(added) - _EMPTY_BYTES
            self._counted = len(self._texts)
        return self._counted_bytes


class BatchUpload:
    """One upload.

    Args:
        client: Sends the jobs.
        batch_id: The batch. It may have jobs of an earlier attempt.
        attempt: The attempt, if the upload has an idempotency key.
        limits: What the key of the upload may send.
        closing: Whether the gateway ends.
        local_only: Whether no text may leave the machines of the workers.
        detail: Which parts of the texts are scored on their own, too.
        model: The name of the model that scores the texts; None lets workers choose.

    Attributes:
        texts: How many texts were accepted.
        is_complete: Whether all of them were, and the batch is closed.
    """

    def __init__(
        self,
        client: GatewayClient,
        batch_id: str,
        *,
        attempt: Attempt | None,
        limits: RateLimits | None,
        closing: Closing,
        local_only: bool,
        model: str | None,
        detail: Detail | None = None,
    ) -> None:
        self.texts = 0
        self.is_complete = False
        self._client = client
        self._id = batch_id
        self._records = BatchRecords(client, batch_id)
        self._attempt = attempt
        self._limits = limits
        self._closing = closing
        self._local_only = local_only
        self._detail: Detail | None = detail
        self._model = model
        self._step: list[list[str]] = []
        self._step_chars = 0
        #: The place of the next job, and how many jobs the batch has.
        self._place = 0
        self._known_jobs = 0
        self._renewed_s = self._flushed_s = time.monotonic()

    async def begin(self, owner: str, then: object = None) -> None:
        """Open the batch, or find what it has.

        Args:
            owner: The id of the key that uploads it.
            then: Its callback. That of a batch that is there already stays.

        Raises:
            BrokerUnavailable, RedisFull, ResultsUnavailable: Redis did not accept it.
        """
        await self._records.open(owner)
        await record_recent_batch(self._client, self._id, owner)
        self._known_jobs = await self._client.open_batch_as(self._id, then)

    async def add(self, job: list[str]) -> None:
        """Take the texts of the next job.

        Raises:
            KeyConflict: An earlier attempt had other texts there.
            BatchTooLarge: The batch has as many jobs as it may have.
            QueueFull, RedisFull: There was no capacity in time.
            RequestInProgress: Another attempt has begun.
            BatchClosed: The batch was cancelled.
            GatewayStopping: The gateway ends.
            BrokerUnavailable, ResultsUnavailable: Redis did not answer.
        """
        self._step.append(job)
        self._step_chars += sum(map(len, job))
        is_full = len(self._step) >= _STEP_JOBS or self._step_chars >= _STEP_CHARS
        if is_full or time.monotonic() - self._flushed_s > _STEP_S:
            await self.flush()

    async def end(self) -> None:
        """Send what is left, and close the batch.

        Raises:
            KeyConflict: An earlier attempt had more texts, or others.
            Others: As `add` does.
        """
        await self.flush()
        if self._place < self._known_jobs:
            raise KeyConflict("the upload with this idempotency key had more lines before")
        await self._client.batch_by_id(self._id).close()
        self.is_complete = True

    async def flush(self) -> None:
        """Send the jobs that were taken.

        Raises:
            As `add` does.
        """
        jobs, self._step, self._step_chars = self._step, [], 0
        self._flushed_s = time.monotonic()
        if not jobs:
            return
        if self._closing.has_begun:
            raise GatewayStopping(
                "the gateway ends: repeat the upload with the same Idempotency-Key, and it goes on",
                retry_after_s=1,
            )
        await self._renew()
        records = [JobRecord.of(len(job), self._digest(job)) for job in jobs]
        known = min(len(jobs), max(0, self._known_jobs - self._place))
        if known and await self._records.jobs(self._place, known) != records[:known]:
            raise KeyConflict("the upload with this idempotency key had other lines before")
        await self._send_new(jobs[known:], records[known:], self._place + known)
        self._place += len(jobs)
        self.texts += sum(map(len, jobs))
        if known < len(jobs):
            await self._records.write_texts(self.texts)

    async def _send_new(
        self, jobs: Sequence[list[str]], records: Sequence[JobRecord], place: int
    ) -> None:
        if not jobs:
            return
        await self._wait_for_tokens(jobs)
        await self._records.write_jobs(place, records)
        await self._client.add_to_batch(
            self._id,
            jobs,
            place,
            local_only=self._local_only,
            detail=self._detail,
            timeout_s=_CAPACITY_S,
            model=self._model,
        )
        self._known_jobs = place + len(jobs)

    async def _wait_for_tokens(self, jobs: Sequence[list[str]]) -> None:
        """Wait until the limit of the key allows these texts. The client is slowed down by it."""
        if self._limits is None:
            return
        tokens = sum(map(tokens_of, jobs))
        while wait_s := await self._limits.texts_wait_s(tokens):
            async with self._closing.interrupts():
                await asyncio.sleep(min(wait_s, _LONGEST_PAUSE_S))
            if self._closing.has_begun:
                raise GatewayStopping("the gateway ends", retry_after_s=1)
            await self._renew()

    async def _renew(self) -> None:
        now_s = time.monotonic()
        if self._attempt is not None and now_s - self._renewed_s > _RENEW_S:
            await self._attempt.renew(lasts_s=ATTEMPT_S)
            self._renewed_s = now_s

    def _digest(self, job: Sequence[str]) -> bytes:
        return b"\0" * 8 if self._attempt is None else self._attempt.digest(orjson.dumps(job))
