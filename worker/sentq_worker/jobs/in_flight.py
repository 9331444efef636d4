"""A job that a worker holds: taken, and not yet acknowledged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentq.contract import DEADLINE_HEADER, LOCAL_ONLY_HEADER, TASK_NAME, redacted
from sentq.wire.ids import sent_at_ms
from sentq_worker.broker.delivery import is_suspect, lost_deliveries
from sentq_worker.jobs.handback import CeleryHandback

__all__ = ["InFlightJob"]


@dataclass(eq=False, slots=True)
class InFlightJob:
    """A job in hand. Thousands are made each second: it holds what is needed, and no more.

    Attributes:
        id: The job's id.
        texts: What it asks to be scored.
        headers: Celery's, as they came.
        delivery_info: Kombu's: which queue it came through, and whether it came before.
        receipt: What ends it: the tag in Redis; on another broker kombu's message; and for a
            job that is not plain, Celery's own path.
        connection: The number of the connection that delivered it.
        tries: How many rounds it was in that gave it no answer.
        shortages: In how many of these memory was short.
        copies: The same job, delivered again meanwhile.
    """

    id: str
    texts: Sequence[object]
    headers: Mapping[str, Any]
    delivery_info: Mapping[str, Any]
    ack_handle: str | CeleryHandback | Any
    connection: int
    tries: int = 0
    shortages: int = 0
    duplicates: tuple[InFlightJob, ...] = ()

    @property
    def chars(self) -> int:
        """How much text it is."""
        return sum([len(text) for text in self.texts if isinstance(text, str)])

    @property
    def attempts(self) -> int:
        """How many times it was tried, as far as its headers tell what other workers did."""
        retries = int(self.headers.get("retries") or 0)
        lost = lost_deliveries(self.headers)
        return 1 + retries + (lost or bool(self.delivery_info.get("redelivered"))) + self.tries

    @property
    def is_local_only(self) -> bool:
        """Whether its texts may not leave this machine."""
        return bool(self.headers.get(LOCAL_ONLY_HEADER))

    @property
    def deadline_ms(self) -> float | None:
        """Until when an answer is of use, by Redis' clock."""
        return self.headers.get(DEADLINE_HEADER)

    @property
    def sent_at_ms(self) -> float | None:
        """When it was sent, by its sender's clock, where its id says it."""
        return sent_at_ms(self.id)

    @property
    def queue(self) -> str:
        """The queue that it came through."""
        return str(self.delivery_info.get("routing_key", ""))

    @property
    def is_suspect(self) -> bool:
        """Whether it may be to blame for workers that were lost: it must run alone, marked."""
        return is_suspect(self.headers)

    @property
    def tag(self) -> str | None:
        """Under which its message is noted in Redis; None on another broker."""
        ack_handle = (
            self.ack_handle.tag if isinstance(self.ack_handle, CeleryHandback) else self.ack_handle
        )
        return ack_handle if isinstance(ack_handle, str) else None

    @property
    def is_plain(self) -> bool:
        """Whether we end it ourselves."""
        return not isinstance(self.ack_handle, CeleryHandback)

    @property
    def ignores_result(self) -> bool:
        """Whether its sender wants no result stored."""
        return bool(self.headers.get("ignore_result"))

    def info(
        self, *, hostname: str, worker_pid: int, started_at_s: float | None
    ) -> dict[str, object]:
        """What `celery inspect` shows of it; no text."""
        return {
            "id": self.id,
            "name": TASK_NAME,
            "args": redacted(len(self.texts)),
            "kwargs": "{}",
            "type": TASK_NAME,
            "hostname": hostname,
            "time_start": started_at_s,
            "acknowledged": False,
            "delivery_info": dict(self.delivery_info),
            "worker_pid": worker_pid,
        }
