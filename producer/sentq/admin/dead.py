"""Count, read, retry and drop dead letters.

dead = client.dead
dead.count(Selection(codes=("worker_lost",)))
for dead_letter in dead.entries(Selection(newer_than_s=3600)):
    dead.retry(dead_letter)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from sentq.admin.dead_steps import (
    ALL,
    DeadLetterPages,
    RetryResult,
    Selection,
    drop_steps,
    get_steps,
    retry_steps,
    texts_of,
)
from sentq.connection.broker import BrokerKeys, run_on_broker
from sentq.wire.dead_letters import DeadLetter
from sentq.wire.documents import QUEUED_DOCUMENT
from sentq.wire.functions import FUNCTIONS
from sentq.wire.steps import Steps

if TYPE_CHECKING:
    from sentq.results.reader import ResultReader
    from sentq.settings import Settings

__all__ = ["DeadLetters", "RetryResult", "Selection", "texts_of"]

T = TypeVar("T")

_REQUEUE_RESULT: Final = FUNCTIONS["requeue_one_result"]


class DeadLetters:
    """The dead letters of one broker.

    Args:
        results: The results of the jobs.
        settings: The queue for dead letters that name none, and how long dead letters are kept.

    Raises, from each method:
        BrokerUnavailable: Redis did not answer, or refused.
        SettingsError: The broker is not Redis.
    """

    def __init__(self, results: ResultReader, settings: Settings) -> None:
        self._results = results
        self._settings = settings

    def count(self, selection: Selection = ALL) -> Counter[str]:
        """Count the dead letters by code."""
        return Counter(dead_letter.code for dead_letter in self.entries(selection))

    def entries(self, selection: Selection = ALL) -> Iterator[DeadLetter]:
        """Yield the present dead letters, the oldest first; remove those that are too old."""
        pages = DeadLetterPages(selection, ttl_s=self._settings.dead_letter_ttl_s)
        while not pages.are_read:
            yield from self._run(pages.next_steps)

    def get(self, dead_letter_id: str) -> DeadLetter | None:
        """Return the dead letter of an id, or None."""
        return self._run(partial(get_steps, dead_letter_id=dead_letter_id))

    def texts(self, dead_letter: DeadLetter) -> list[str] | None:
        """Return the texts in the message of a dead letter, decrypted if they are encrypted; other
        values there as strings; None if the message is not readable.

        Raises:
            Undecryptable: They are encrypted, and cannot be decrypted here.
        """
        return texts_of(dead_letter, self._results.keyring)

    def retry(self, dead_letter: DeadLetter) -> RetryResult:
        """Send the message of a dead letter again, as if it had never been delivered.

        The job keeps its id and its deadline, and is queued again: in one step if results and
        messages are in one Redis, else just before the message. A truncated message is not sent.
        """
        if dead_letter.is_truncated:
            return RetryResult.TRUNCATED
        job_id = dead_letter.job_id
        document = None if job_id is None else self._results.key(job_id)
        if document is not None and not self._results.is_single_redis:
            if not self._results.run_script(
                _REQUEUE_RESULT, [document], [QUEUED_DOCUMENT, self._results.ttl_s]
            ):
                self.drop([dead_letter.id])
                return RetryResult.ENDED
            document = None
        return self._run(
            partial(
                retry_steps,
                dead_letter=dead_letter,
                document=document,
                default_queue=self._settings.queue,
                ttl_s=self._results.ttl_s,
            )
        )

    def drop(self, dead_letter_ids: Sequence[str]) -> int:
        """Delete dead letters, and return how many there were.

        Their jobs failed when the messages were dead-lettered; that result stays.
        """
        return self._run(partial(drop_steps, dead_letter_ids=dead_letter_ids))

    def _run(self, make_steps: Callable[[BrokerKeys], Steps[T]]) -> T:
        return run_on_broker(self._results.app, make_steps)
