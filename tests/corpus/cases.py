"""All cases, as messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.corpus.expected import CorpusCase, ExpectDeadLetter, ExpectedResult, ExpectScored
from tests.corpus.headers import HEADERS
from tests.corpus.jobs import JOBS
from tests.corpus.messages import body_of, message, raw
from tests.corpus.protocol1 import PROTOCOL_1
from tests.corpus.texts import TEXTS
from tests.corpus.unreadable import NOT_JOBS, NOT_MESSAGES

__all__ = ["CASES"]

#: A header that changes only a job's path: Celery's own instead of that of a plain job.
_CELERYS_PATH: Final = {"retries": 1}


def _raw(whole: bytes | dict[str, Any]) -> bytes:
    return whole if isinstance(whole, bytes) else raw(whole)


def _both_paths(name: str, body: str, expected: ExpectedResult) -> Iterator[CorpusCase]:
    yield CorpusCase(f"{name}, plain", raw(message(body)), expected)
    yield CorpusCase(
        f"{name}, Celery's own path", raw(message(body, headers=_CELERYS_PATH)), expected
    )


def _cases() -> Iterator[CorpusCase]:
    for text in TEXTS:
        body = body_of("a good text", text.text, "another")
        yield from _both_paths(f"text: {text.name}", body, ExpectScored((None, text.code, None)))
    for name, (body, expected) in JOBS.items():
        yield from _both_paths(f"job: {name}", body, expected)
    for name, whole in NOT_MESSAGES.items():
        yield CorpusCase(
            f"not a message: {name}", _raw(whole), ExpectDeadLetter("it is not a Celery message")
        )
    yield CorpusCase(
        "not a message: ten megabytes of spaces",
        b" " * 10_000_000,
        ExpectDeadLetter("the message is too large"),
    )
    for name, (changed, reason) in NOT_JOBS.items():
        yield CorpusCase(f"not a job: {name}", _raw(changed), ExpectDeadLetter(reason))
    for name, (changed, expected) in HEADERS.items():
        yield CorpusCase(f"header: {name}", _raw(changed), expected)
    for name, (changed, expected) in PROTOCOL_1.items():
        yield CorpusCase(f"protocol 1: {name}", _raw(changed), expected)


CASES: Final = tuple(_cases())
