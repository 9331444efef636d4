"""What is kept of an uploaded batch beside the batch itself.

    sentq-gateway-batch-<id>        hash     the key that has uploaded it; how many texts it has
    sentq-gateway-batch-<id>:jobs   string   9 bytes for each job, by its place: how many texts it
                                             has, less one; the beginning of a digest of them

The digests tell whether an upload that is continued has the same lines as before. They are keyed by
the idempotency key, so Redis holds no plain hash of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sentq.errors import UnknownBatch
from sentq.gateway.client import GatewayClient
from sentq.gateway.errors import BatchExpired
from sentq.wire.clock import CLOCK
from sentq.wire.ids import sent_at_ms
from sentq.wire.steps import Command, RoundTrip

__all__ = ["BatchRecord", "BatchRecords", "JobRecord"]

_DIGEST_BYTES: Final = 8
_JOB_BYTES: Final = 1 + _DIGEST_BYTES


class BatchRecord(NamedTuple):
    """What is kept of a batch.

    Attributes:
        owner: The id of the key that has uploaded it; empty for an open gateway.
        texts: How many texts were accepted.
    """

    owner: str
    texts: int


class JobRecord(NamedTuple):
    """What is kept of a job of a batch.

    Attributes:
        texts: How many texts it has.
        digest: The beginning of a digest of them.
    """

    texts: int
    digest: bytes

    @classmethod
    def of(cls, texts: int, digest: bytes) -> JobRecord:
        """Return the record of a job with so many texts, of which this is a digest."""
        return cls(texts, digest[:_DIGEST_BYTES])

    def packed(self) -> bytes:
        """Return the form in which it is kept."""
        return bytes([self.texts - 1]) + self.digest


class BatchRecords:
    """The records of one batch.

    Args:
        client: Reads and writes them.
        batch_id: The batch.

    Raises, from all methods:
        ResultsUnavailable: Redis did not answer, or refused.
    """

    def __init__(self, client: GatewayClient, batch_id: str) -> None:
        self._client = client
        self._id = batch_id
        self._key = client.key(f"sentq-gateway-batch-{batch_id}")
        self._jobs_key = self._key + b":jobs"
        self._kept_s = client.kept_s

    async def read(self) -> BatchRecord | None:
        """Return what is kept of the batch; None for one that was not uploaded."""
        owner, texts = await self._client.ask(("HMGET", self._key, "owner", "texts"))
        return None if owner is None else BatchRecord(owner.decode(), int(texts or 0))

    async def check_owner(self, key_id: str, *, is_admin: bool) -> BatchRecord | None:
        """Refuse to tell a key of the batch of another; return what is kept of the batch.

        Raises:
            UnknownBatch: It is the batch of another key, or no batch.
            BatchExpired: It was kept for its time, if there was one. Every key is told so.
        """
        record = await self.read()
        if is_admin or (record is not None and record.owner == key_id):
            return record
        if record is None:
            self.check_age()
        raise UnknownBatch(f"this key has uploaded no batch {self._id}", self._id)

    def check_age(self) -> None:
        """Refuse a batch of so long ago that nothing is kept of it.

        Raises:
            BatchExpired: It is so old.
        """
        sent_ms = sent_at_ms(self._id)
        if sent_ms is not None and CLOCK.unix_s() - sent_ms / 1000 > self._kept_s:
            raise BatchExpired("the batch was kept for its time, and is gone")

    async def open(self, owner: str) -> None:
        """Record whose batch it is."""
        await self._write(self._key, ("HSET", self._key, "owner", owner))

    async def jobs(self, first: int, count: int) -> list[JobRecord]:
        """Return the records of at most so many jobs, from a place on."""
        begin, end = first * _JOB_BYTES, (first + count) * _JOB_BYTES - 1
        packed: bytes = await self._client.ask(("GETRANGE", self._jobs_key, begin, end))
        starts = range(0, len(packed) - _JOB_BYTES + 1, _JOB_BYTES)
        return [JobRecord(packed[at] + 1, packed[at + 1 : at + _JOB_BYTES]) for at in starts]

    async def write_jobs(self, first: int, jobs: Sequence[JobRecord]) -> None:
        """Record jobs that are about to be sent, from a place on."""
        packed = b"".join(job.packed() for job in jobs)
        await self._write(self._jobs_key, ("SETRANGE", self._jobs_key, first * _JOB_BYTES, packed))

    async def write_texts(self, texts: int) -> None:
        """Record how many texts were accepted."""
        await self._write(self._key, ("HSET", self._key, "texts", texts))

    async def _write(self, key: bytes, command: Command) -> None:
        """Write to a key, and let it expire only after its time from now on."""
        await self._client.ask(RoundTrip([command, ("EXPIRE", key, self._kept_s)]))
