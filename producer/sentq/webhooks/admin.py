"""Count, list and retry webhooks, for callers that block.

with WebhookAdmin(settings) as webhooks:
    for row in webhooks.rows(WebhookPlace.DEAD):
        webhooks.retry(row.id)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from sentq.connection.app import AppOfClient
from sentq.connection.broker import BrokerKeys, run_on_broker
from sentq.settings import Settings
from sentq.webhooks.store import (
    PAGE_SIZE,
    RetryReply,
    WebhookPlace,
    WebhookRow,
    count_steps,
    disabled_steps,
    enable_steps,
    list_steps,
    retry_webhook_steps,
)
from sentq.wire.steps import Steps

__all__ = ["WebhookAdmin"]

T = TypeVar("T")


class WebhookAdmin:
    """The webhooks of one Redis.

    Args:
        settings: The Redis.

    Raises, from each method:
        BrokerUnavailable: Redis did not answer, or refused.
        SettingsError: The broker is not Redis.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = AppOfClient(settings)

    def counts(self) -> dict[WebhookPlace, int]:
        """Count the webhooks that wait, and those after their last attempt."""
        return self._run(count_steps)

    def rows(self, place: WebhookPlace) -> Iterator[WebhookRow]:
        """Yield the webhooks that wait, those that are due first; or the dead ones, the oldest
        first. Those that move meanwhile may be missing, or there twice."""
        first = 0
        while True:
            page = self._run(partial(list_steps, place=place, first=first))
            yield from page
            first += len(page)
            if len(page) < PAGE_SIZE:
                return

    def retry(self, webhook_id: str) -> RetryReply:
        """Have a webhook sent now, waiting or dead. Its URL is disabled no longer."""
        return self._run(partial(retry_webhook_steps, webhook_id=webhook_id))

    def disabled(self) -> list[tuple[str, int]]:
        """Return the URLs whose receivers have answered 410, and when, in Unix milliseconds."""
        return self._run(disabled_steps)

    def enable(self, url: str) -> bool:
        """Send webhooks to a URL again; return whether that was disabled."""
        return self._run(partial(enable_steps, url=url))

    def close(self) -> None:
        """Close the connections."""
        self._app.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, make_steps: Callable[[BrokerKeys], Steps[T]]) -> T:
        return run_on_broker(self._app.get(), make_steps)
