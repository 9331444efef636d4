"""Dead letters in an operator's hands: counted, read, put back, dropped.

dead = client.dead
dead.count(Selection(codes=("worker_lost",)))
for letter in dead.letters(Selection(newer_than_s=3600)):
    dead.retry(letter)
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
)
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetter, parse_dead_letter
from sentq.wire.documents import QUEUED_DOCUMENT
from sentq.wire.lua import load_script

if TYPE_CHECKING:
    from sentq.results.reader import ResultReader
    from sentq.settings import Settings

__all__ = ["DeadLetters", "RetryResult", "Selection", "texts_of"]

logger = logging.getLogger(__name__)

#: Letters of one round trip. Each may be as large as a message may be.
_PAGE: Final = 50

_REQUEUE_RESULT: Final = load_script("sentq.wire", "requeue_one_result")
_RETRY: Final = load_script("sentq.wire", "retry_dead_letter")

_HEADERS_OF_DELIVERY: Final = (
    *(DELIVERIES_HEADER, FIRST_ERROR_HEADER, LAST_ERROR_HEADER, ALONE_HEADER),
    "redelivered",
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters: of one of these codes, or of any; written before or after so many seconds
    ago, or whenever."""

    codes: Sequence[str] = ()
    older_than_s: float | None = None
    newer_than_s: float | None = None


ALL: Final = Selection()


class RetryResult(StrEnum):
    """What became of a letter that was to be tried again."""

    #: Its message waits in its queue, its job is queued, and the letter is gone.
    RETRIED = "retried"
    #: Its job has an answer, or was cancelled; the letter is gone, and nothing else was done.
    ANSWERED = "answered"
    #: Somebody else was faster.
    GONE = "gone"


class DeadLetters:
    """The dead letters of one broker.

    Args:
        results: Of the jobs that the letters are about.
        settings: Where the broker is, and how long letters are kept.

    Raises, from each method:
        BrokerUnavailable: Redis did not answer, or refused.
        SettingsError: The broker is not Redis.
    """

    def __init__(self, results: ResultReader, settings: Settings) -> None:
        self._results = results
        self._app = results.app
        self._settings = settings

    def count(self, selection: Selection = ALL) -> Counter[str]:
        """How many letters there are of each code."""
        return Counter(letter.code for letter in self.letters(selection))

    def letters(self, selection: Selection = ALL) -> Iterator[DeadLetter]:
        """The letters that there are now, the oldest first. Those that are too old go now."""
        with open_broker(self._app) as broker:
            now_ms = _now_ms(broker)
            self._trim(broker, now_ms)
        first, last = "-", str(max(0, now_ms - round((selection.older_than_s or 0) * 1000)))
        if selection.newer_than_s is not None:
            first = str(max(0, now_ms - round(selection.newer_than_s * 1000)))
        while True:
            with open_broker(self._app) as broker:
                entries = _range(broker, first, last)
            for letter in _readable(entries):
                if not selection.codes or letter.code in selection.codes:
                    yield letter
            if len(entries) < _PAGE:
                return
            first = "(" + entries[-1][0].decode()

    def get(self, letter_id: str) -> DeadLetter | None:
        """The letter of this id; None where there is none."""
        with open_broker(self._app) as broker:
            try:
                entries = _range(broker, letter_id, letter_id)
            except redis.ResponseError:
                return None  # It is no id.
        return next(_readable(entries), None)

    def retry(self, letter: DeadLetter) -> RetryResult:
        """Put the message of a letter back into its queue, as if it had never been delivered.

        Its job keeps its id and its deadline, and is queued again: in one step where results lie
        in the broker's Redis, before the message elsewhere.
        """
        message, priority = _undelivered(letter.message)
        document = None if letter.job_id is None else self._results.key(letter.job_id)
        if document is not None and not self._settings.one_redis:
            if not self._results.run_script(
                _REQUEUE_RESULT, [document], [QUEUED_DOCUMENT, self._results.ttl_s]
            ):
                self.drop([letter.id])
                return RetryResult.ANSWERED
            document = None
        with open_broker(self._app) as broker:
            queue = broker.list_of(letter.queue or self._settings.queue, priority)
            keys: list[str | bytes] = [broker.key(DEAD_LETTERS_KEY), queue]
            keys += [] if document is None else [document]
            arguments = [letter.id, message, QUEUED_DOCUMENT, self._results.ttl_s]
            outcome: bytes = _RETRY.run(broker.redis, keys, arguments)
        return RetryResult(outcome.decode())

    def drop(self, letter_ids: Sequence[str]) -> int:
        """Delete letters; returns how many there were. What waits for their jobs was told when
        they died."""
        with open_broker(self._app) as broker:
            return int(broker.redis.xdel(broker.key(DEAD_LETTERS_KEY), *letter_ids))

    def _trim(self, broker: BrokerRedis, now_ms: int) -> None:
        oldest_ms = max(0, now_ms - self._settings.dead_letter_ttl_s * 1000)
        broker.redis.xtrim(broker.key(DEAD_LETTERS_KEY), minid=oldest_ms, approximate=False)


def _now_ms(broker: BrokerRedis) -> int:
    seconds, microseconds = broker.redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _range(broker: BrokerRedis, first: str, last: str) -> list[Any]:
    key = broker.key(DEAD_LETTERS_KEY)
    entries: list[Any] = broker.redis.execute_command("XRANGE", key, first, last, "COUNT", _PAGE)
    return entries


def _readable(entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> Iterator[DeadLetter]:
    for entry_id, fields in entries:
        try:
            yield parse_dead_letter(entry_id, fields)
        except ValidationError:
            logger.warning("dead letter %s cannot be read; drop it by its id", entry_id.decode())


def texts_of(letter: DeadLetter) -> list[str] | None:
    """The texts of the job in a letter's message, and whatever stands in their place; None where
    it holds none that can be read."""
    try:
        args, kwargs, _ = json.loads(base64.b64decode(json.loads(letter.message)["body"]))
        texts = args[0] if args else kwargs["texts"]
        return list(map(str, texts if isinstance(texts, list) else [texts]))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _undelivered(raw: bytes) -> tuple[bytes, int]:
    """The message as it was before anybody took it, and its priority."""
    try:
        # Not orjson: what was read leniently may hold what only the lenient can write.
        message: dict[str, Any] = json.loads(raw)
        for name in _HEADERS_OF_DELIVERY:
            message["headers"].pop(name, None)
        message["properties"]["delivery_info"].pop("redelivered", None)
        priority = message["properties"].get("priority") or 0
        return json.dumps(message).encode(), int(priority)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return raw, 0
