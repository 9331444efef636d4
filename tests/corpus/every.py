"""Every case, as messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tests.corpus.cases import CorpusCase, ExpectDeadLetter, ExpectedResult, ExpectScored
from tests.corpus.envelopes import body_of, message, raw
from tests.corpus.first_protocol import FIRST_PROTOCOL
from tests.corpus.headers import HEADERS
from tests.corpus.jobs import JOBS
from tests.corpus.messages import NO_JOBS, NO_MESSAGES
from tests.corpus.texts import TEXTS

__all__ = ["CASES"]

#: A header that changes nothing but a job's way: Celery's own instead of a plain job's.
_OWN_WAY: Final = {"retries": 1}


def _raw(whole: bytes | dict[str, Any]) -> bytes:
    return whole if isinstance(whole, bytes) else raw(whole)


def _both_ways(name: str, body: str, ending: ExpectedResult) -> Iterator[CorpusCase]:
    yield CorpusCase(f"{name}, plain", raw(message(body)), ending)
    yield CorpusCase(f"{name}, Celery's own way", raw(message(body, headers=_OWN_WAY)), ending)


def _cases() -> Iterator[CorpusCase]:
    for text in TEXTS:
        body = body_of("a good text", text.text, "another")
        yield from _both_ways(f"text: {text.name}", body, ExpectScored((None, text.code, None)))
    for name, (body, ending) in JOBS.items():
        yield from _both_ways(f"job: {name}", body, ending)
    for name, whole in NO_MESSAGES.items():
        yield CorpusCase(
            f"no message: {name}", _raw(whole), ExpectDeadLetter("it is not a Celery message")
        )
    for name, (changed, reason) in NO_JOBS.items():
        yield CorpusCase(f"no job: {name}", _raw(changed), ExpectDeadLetter(reason))
    for name, (changed, ending) in HEADERS.items():
        yield CorpusCase(f"header: {name}", _raw(changed), ending)
    for name, (changed, ending) in FIRST_PROTOCOL.items():
        yield CorpusCase(f"first protocol: {name}", _raw(changed), ending)


CASES: Final = tuple(_cases())
