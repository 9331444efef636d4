"""Count, read, retry and drop dead letters.

dead = client.dead
dead.count(Selection(codes=("worker_lost",)))
for dead_letter in dead.entries(Selection(newer_than_s=3600)):
    dead.retry(dead_letter)
"""

from __future__ import annotations

import base64
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import redis
from pydantic import ValidationError

from sentq.connection.broker import BrokerRedis, open_broker
from sentq.contract import (
    ALONE_HEADER,
    DELIVERIES_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
    SEALED_FIELD,
)
from sentq.errors import Undecryptable
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetter, parse_dead_letter
from sentq.wire.documents import QUEUED_DOCUMENT
from sentq.wire.functions import FUNCTIONS
from sentq.wire.sealing import Keyring, Purpose

if TYPE_CHECKING:
    from sentq.results.reader import ResultReader
    from sentq.settings import Settings

__all__ = ["DeadLetters", "RetryResult", "Selection", "texts_of"]

logger = logging.getLogger(__name__)

#: Dead letters of one round trip. Each may be as large as the largest message.
_PAGE_SIZE: Final = 50

_REQUEUE_RESULT: Final = FUNCTIONS["requeue_one_result"]
_RETRY: Final = FUNCTIONS["retry_dead_letter"]

_HEADERS_OF_DELIVERY: Final = (
    *(DELIVERIES_HEADER, FIRST_ERROR_HEADER, LAST_ERROR_HEADER, ALONE_HEADER),
    "redelivered",
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects dead letters by code and age.

    Attributes:
        codes: Select only these codes; empty selects all.
        older_than_s: Select only dead letters that are older, in seconds.
        newer_than_s: Select only dead letters that are newer, in seconds.
    """

    codes: Sequence[str] = ()
    older_than_s: float | None = None
    newer_than_s: float | None = None


ALL: Final = Selection()


class RetryResult(StrEnum):
    """What `DeadLetters.retry` did."""

    #: The message is in its queue again, the job is queued, and the dead letter was removed.
    RETRIED = "retried"
    #: The job has an outcome or was cancelled. The dead letter was removed, and nothing else done.
    ENDED = "ended"
    #: There is no such dead letter (any more): another operator was faster, or it was too old.
    NOT_FOUND = "not_found"
    #: Only parts of the message were kept, because it was too large. The dead letter stays.
    TRUNCATED = "truncated"


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
        self._app = results.app
        self._settings = settings

    def count(self, selection: Selection = ALL) -> Counter[str]:
        """Count the dead letters by code."""
        return Counter(dead_letter.code for dead_letter in self.entries(selection))

    def entries(self, selection: Selection = ALL) -> Iterator[DeadLetter]:
        """Yield the present dead letters, the oldest first; remove those that are too old."""
        with open_broker(self._app) as broker:
            now_ms = _now_ms(broker)
            self._trim(broker, now_ms)
        first, last = "-", str(max(0, now_ms - round((selection.older_than_s or 0) * 1000)))
        if selection.newer_than_s is not None:
            first = str(max(0, now_ms - round(selection.newer_than_s * 1000)))
        while True:
            with open_broker(self._app) as broker:
                entries = _range(broker, first, last)
            for dead_letter in _readable(entries):
                if not selection.codes or dead_letter.code in selection.codes:
                    yield dead_letter
            if len(entries) < _PAGE_SIZE:
                return
            first = "(" + entries[-1][0].decode()

    def get(self, dead_letter_id: str) -> DeadLetter | None:
        """Return the dead letter of an id, or None."""
        with open_broker(self._app) as broker:
            try:
                entries = _range(broker, dead_letter_id, dead_letter_id)
            except redis.ResponseError:
                return None  # The id is malformed.
        return next(_readable(entries), None)

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
        message, priority = _undelivered(dead_letter.message)
        job_id = dead_letter.job_id
        document = None if job_id is None else self._results.key(job_id)
        if document is not None and not self._settings.is_single_redis:
            if not self._results.run_script(
                _REQUEUE_RESULT, [document], [QUEUED_DOCUMENT, self._results.ttl_s]
            ):
                self.drop([dead_letter.id])
                return RetryResult.ENDED
            document = None
        with open_broker(self._app) as broker:
            queue = broker.list_of(dead_letter.queue or self._settings.queue, priority)
            keys: list[str | bytes] = [broker.key(DEAD_LETTERS_KEY), queue]
            keys += [] if document is None else [document]
            arguments = [dead_letter.id, message, QUEUED_DOCUMENT, self._results.ttl_s]
            result: bytes = _RETRY.run(broker.redis, keys, arguments)
        return RetryResult(result.decode())

    def drop(self, dead_letter_ids: Sequence[str]) -> int:
        """Delete dead letters, and return how many there were.

        Their jobs failed when the messages were dead-lettered; that result stays.
        """
        with open_broker(self._app) as broker:
            return int(broker.redis.xdel(broker.key(DEAD_LETTERS_KEY), *dead_letter_ids))

    def _trim(self, broker: BrokerRedis, now_ms: int) -> None:
        oldest_ms = max(0, now_ms - self._settings.dead_letter_ttl_s * 1000)
        broker.redis.xtrim(broker.key(DEAD_LETTERS_KEY), minid=oldest_ms, approximate=False)


def _now_ms(broker: BrokerRedis) -> int:
    seconds, microseconds = broker.redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _range(broker: BrokerRedis, first: str, last: str) -> list[Any]:
    key = broker.key(DEAD_LETTERS_KEY)
    entries: list[Any] = broker.redis.execute_command(
        "XRANGE", key, first, last, "COUNT", _PAGE_SIZE
    )
    return entries


def _readable(entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> Iterator[DeadLetter]:
    for entry_id, fields in entries:
        try:
            yield parse_dead_letter(entry_id, fields)
        except ValidationError:
            logger.warning("dead letter %s cannot be read; drop it by its id", entry_id.decode())


def texts_of(dead_letter: DeadLetter, keyring: Keyring | None = None) -> list[str] | None:
    """Return the texts in the message of a dead letter, as `DeadLetters.texts` does.

    Raises:
        Undecryptable: They are encrypted, and cannot be decrypted with these keys.
    """
    try:
        message = json.loads(dead_letter.message)
        args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
        if SEALED_FIELD in kwargs:
            if keyring is None:
                raise Undecryptable("the texts are encrypted, and there are no encryption_keys")
            job_id = str(message["headers"]["id"])
            texts = keyring.open(kwargs[SEALED_FIELD], Purpose.TEXTS, job_id)
        else:
            texts = args[0] if args else kwargs["texts"]
        return list(map(str, texts if isinstance(texts, list) else [texts]))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _undelivered(raw: bytes) -> tuple[bytes, int]:
    """Return the message as its sender wrote it, and its priority."""
    try:
        # Not orjson: workers accept values, such as lone surrogates, that orjson cannot write.
        message: dict[str, Any] = json.loads(raw)
        for name in _HEADERS_OF_DELIVERY:
            message["headers"].pop(name, None)
        message["properties"]["delivery_info"].pop("redelivered", None)
        priority = message["properties"].get("priority") or 0
        return json.dumps(message).encode(), int(priority)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return raw, 0
