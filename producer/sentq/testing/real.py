"""A real Redis and a real worker for tests, with the methods of a kit that make clients."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sentq.client import Client
from sentq.dev.embedded import EmbeddedRedis, find_redis_server
from sentq.dev.stack import local_worker
from sentq.settings import Settings

if TYPE_CHECKING:
    from sentq.aio import AsyncClient

__all__ = ["RealService", "real_service"]


class RealService:
    """A real Redis and a real worker. The fixture `sentq_redis` returns one.

    Args:
        settings: Lead to them.

    Attributes:
        settings: The settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables that lead clients there, also those of other processes."""
        url = self.settings.broker_url.get_secret_value()
        return {
            "SENTQ_BROKER_URL": url,
            "SENTQ_RESULT_URL": url,
            "SENTQ_QUEUE": self.settings.queue,
            "SENTQ_BULK_QUEUE": self.settings.bulk_queue,
            "SENTQ_KEY_NAMESPACE": self.settings.key_namespace,
        }

    def for_one_test(self) -> RealService:
        """Return the same service with a key namespace of its own: the idempotency keys of one test
        are not those of another."""
        return RealService(Settings.load_over(self.settings, key_namespace=secrets.token_hex(4)))

    def client(self, **overrides: object) -> Client:
        """Return a new client.

        Args:
            overrides: Single settings, in place of those of the service.

        Raises:
            SettingsError: A setting is unknown or does not fit.
        """
        return Client(self.settings, **overrides)

    def async_client(self, **overrides: object) -> AsyncClient:
        """Return a new client for asyncio; see `client`."""
        from sentq.aio import AsyncClient

        return AsyncClient(self.settings, **overrides)


@contextmanager
def real_service(folder: Path, broker_url: str | None = None) -> Iterator[RealService]:
    """Run a worker for the block, which reads queues of its own.

    Args:
        folder: The folder for logs, and for the data of Redis.
        broker_url: The Redis; None starts an embedded one.

    Raises:
        NoRedisFound, RedisDidNotStart, WorkerDidNotStart: The message says what to do.
    """
    with ExitStack() as stack:
        if broker_url is None:
            broker_url = stack.enter_context(EmbeddedRedis(folder, find_redis_server())).url
        queue = f"sentq-test-{secrets.token_hex(4)}"
        settings = Settings.load(
            broker_url=broker_url, result_url=broker_url, queue=queue, bulk_queue=f"{queue}.bulk"
        )
        stack.enter_context(local_worker(settings, folder))
        yield RealService(settings)
