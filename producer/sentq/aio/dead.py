"""Count, read, retry and drop dead letters, in an event loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TypeVar

from sentq.admin.dead import DeadLetters
from sentq.admin.dead_steps import (
    ALL,
    DeadLetterPages,
    RetryResult,
    Selection,
    drop_steps,
    get_steps,
    texts_of,
)
from sentq.aio.driver import Drivers
from sentq.connection.broker import BrokerKeys
from sentq.results.reader import ResultReader
from sentq.settings import Settings
from sentq.wire.dead_letters import DeadLetter
from sentq.wire.steps import Steps

__all__ = ["AsyncDeadLetters"]

T = TypeVar("T")


class AsyncDeadLetters:
    """The dead letters of one broker.

    Args:
        results: The results of the jobs.
        settings: The queue for dead letters that name none, and how long dead letters are kept.
        drivers: The connections.

    Raises, from each method:
        BrokerUnavailable: Redis did not answer, or refused.
        SettingsError: The broker is not Redis.
    """

    def __init__(self, results: ResultReader, settings: Settings, drivers: Drivers) -> None:
        self._results = results
        self._settings = settings
        self._drivers = drivers

    async def count(self, selection: Selection = ALL) -> Counter[str]:
        """Count the dead letters by code."""
        return Counter([each.code async for each in self.entries(selection)])

    async def entries(self, selection: Selection = ALL) -> AsyncIterator[DeadLetter]:
        """Yield the present dead letters, the oldest first; remove those that are too old."""
        pages = DeadLetterPages(selection, ttl_s=self._settings.dead_letter_ttl_s)
        while not pages.are_read:
            for dead_letter in await self._run(pages.next_steps):
                yield dead_letter

    async def get(self, dead_letter_id: str) -> DeadLetter | None:
        """Return the dead letter of an id, or None."""
        return await self._run(partial(get_steps, dead_letter_id=dead_letter_id))

    def texts(self, dead_letter: DeadLetter) -> list[str] | None:
        """Return the texts of a dead letter, as `DeadLetters.texts` does. It needs no connection.

        Raises:
            Undecryptable: They are encrypted, and cannot be decrypted here.
        """
        return texts_of(dead_letter, self._results.keyring)

    async def retry(self, dead_letter: DeadLetter) -> RetryResult:
        """Send the message of a dead letter again, as if it had never been delivered.

        The job keeps its id and its deadline, and is queued again. A truncated message is not sent.
        An operator retries few at a time, so this is done by code that blocks, in a thread.
        """
        blocking = DeadLetters(self._results, self._settings)
        return await self._drivers.in_thread(partial(blocking.retry, dead_letter))

    async def drop(self, dead_letter_ids: Sequence[str]) -> int:
        """Delete dead letters, and return how many there were.

        Their jobs failed when the messages were dead-lettered; that result stays.
        """
        return await self._run(partial(drop_steps, dead_letter_ids=dead_letter_ids))

    async def _run(self, make_steps: Callable[[BrokerKeys], Steps[T]]) -> T:
        return await self._drivers.current().run_on_broker(make_steps)
