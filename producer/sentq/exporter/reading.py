"""One reading of the broker's Redis, for a scrape or for an autoscaler."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

from sentq.admin.status import ServiceStatus, service_status_steps
from sentq.connection.broker import BrokerKeys, run_on_broker
from sentq.errors import BrokerUnavailable
from sentq.exporter.dead_letter_codes import DeadLetterCodes
from sentq.webhooks.store import WebhookPlace, count_steps
from sentq.wire.steps import Steps

if TYPE_CHECKING:
    from celery import Celery

    from sentq.settings import Settings

__all__ = ["RedisMemory", "ServiceReader", "ServiceReading"]

#: For how long a reading, or a failure, is given to all who ask. So Redis is asked about once a
#: second, however many ask.
_FRESH_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """The memory of the broker's Redis, in bytes. A maximum of 0 is no limit."""

    used_bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class ServiceReading:
    """What Redis knows of the service.

    Attributes:
        status: The queues and the workers.
        dead_letters: How many there are, by code.
        memory: The memory of Redis; None if this user may not ask.
        webhooks: How many wait, and how many are dead; None if this user may not ask.
    """

    status: ServiceStatus
    dead_letters: Mapping[str, int]
    memory: RedisMemory | None
    webhooks: Mapping[WebhookPlace, int] | None


class ServiceReader:
    """Reads the service, for any number of threads.

    Args:
        app: The app of the broker.
        settings: The settings shared with clients and workers.
    """

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._lock = threading.Lock()
        self._codes = DeadLetterCodes()
        self._last: ServiceReading | BrokerUnavailable | None = None
        self._read_at = float("-inf")

    def read(self) -> ServiceReading:
        """Return a reading that is at most about a second old.

        Raises:
            BrokerUnavailable: Redis did not answer, or refused.
            SettingsError: The broker is not Redis.
        """
        with self._lock:
            if self._last is None or time.monotonic() - self._read_at >= _FRESH_S:
                try:
                    self._last = run_on_broker(self._app, self._steps)
                except BrokerUnavailable as error:
                    self._last = error
                self._read_at = time.monotonic()
            last = self._last
        if isinstance(last, BrokerUnavailable):
            raise BrokerUnavailable(str(last))
        return last

    def _steps(self, broker: BrokerKeys) -> Steps[ServiceReading]:
        status = yield from service_status_steps(broker, self._settings)
        counts = yield from self._codes.count_steps(broker, status.dead_letters)
        memory = yield from _memory_steps()
        return ServiceReading(status, counts, memory, (yield from _webhook_steps(broker)))


def _webhook_steps(broker: BrokerKeys) -> Steps[Mapping[WebhookPlace, int] | None]:
    try:
        return (yield from count_steps(broker))
    except ResponseError:
        return None  # A users.acl of a version before webhooks.


def _memory_steps() -> Steps[RedisMemory | None]:
    try:
        found = yield ("INFO", "memory")
    except ResponseError:
        return None
    return RedisMemory(int(found["used_memory"]), int(found["maxmemory"]))
