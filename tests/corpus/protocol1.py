"""Messages in Celery's protocol 1, whose body holds all options: valid and invalid jobs."""

from __future__ import annotations

from typing import Any, Final

from sentq.errors import EmptyJob, InvalidInput, TooManyTexts
from tests.corpus.expected import (
    CANARY,
    ExpectDeadLetter,
    ExpectedResult,
    ExpectFailed,
    ExpectRevoked,
    ExpectScored,
)
from tests.corpus.messages import protocol1

__all__ = ["PROTOCOL_1"]

PROTOCOL_1: Final[dict[str, tuple[dict[str, Any], ExpectedResult]]] = {
    "a job": (protocol1(), ExpectScored()),
    "without arguments": (protocol1(args=...), ExpectFailed(InvalidInput)),
    "arguments in an object": (
        protocol1(args={CANARY: 1}),
        ExpectDeadLetter("KeyError as it was handled"),
    ),
    "arguments that are a string": (protocol1(args=CANARY), ExpectFailed(InvalidInput)),
    "arguments that are null": (
        protocol1(args=None),
        ExpectDeadLetter("TypeError as it was handled"),
    ),
    "without texts": (protocol1(args=[[]]), ExpectFailed(EmptyJob)),
    "too many texts": (protocol1(args=[[CANARY] * 257]), ExpectFailed(TooManyTexts)),
    "an unknown keyword": (protocol1(kwargs={CANARY: 1}), ExpectFailed(InvalidInput)),
    "keywords in a list": (
        protocol1(kwargs=[CANARY]),
        ExpectDeadLetter("InvalidTaskError as it was read"),
    ),
    "keywords that are null": (
        protocol1(kwargs=None),
        ExpectDeadLetter("InvalidTaskError as it was read"),
    ),
    "without keywords": (protocol1(kwargs=...), ExpectScored()),
    "without a task": (protocol1(task=...), ExpectDeadLetter("it is not a task")),
    "a task that is a list": (
        protocol1(task=[CANARY]),
        ExpectDeadLetter("TypeError as it was handled"),
    ),
    "a task that is null": (protocol1(task=None), ExpectDeadLetter("its task is not registered")),
    "an unknown task": (protocol1(task=CANARY), ExpectDeadLetter("its task is not registered")),
    "without an id": (protocol1(id=...), ExpectDeadLetter("its id is none")),
    "an id that is a number": (protocol1(id=5), ExpectDeadLetter("its id is none")),
    "an id that is a list": (protocol1(id=[CANARY]), ExpectDeadLetter("its id is none")),
    "an id that is null": (protocol1(id=None), ExpectDeadLetter("its id is none")),
    "an empty id": (protocol1(id=""), ExpectDeadLetter("its id is none")),
    "a line break in its id": (protocol1(id="a\nb"), ExpectDeadLetter("its id is none")),
    "a surrogate as id": (protocol1(id="\ud800"), ExpectDeadLetter("its id is none")),
    "an eta that is text": (protocol1(eta=CANARY), ExpectDeadLetter("its eta is no date")),
    "an eta that is a number": (protocol1(eta=5), ExpectDeadLetter("its eta is no date")),
    "an eta in the year 9999": (
        protocol1(eta="9999-12-31T23:59:59+00:00"),
        ExpectDeadLetter("its eta is out of reach"),
    ),
    "an eta that has passed": (protocol1(eta="2001-01-01T00:00:00+00:00"), ExpectScored()),
    "expires that is text": (
        protocol1(expires=CANARY),
        ExpectDeadLetter("InvalidTaskError as it was read"),
    ),
    "expires that has passed": (protocol1(expires="2001-01-01T00:00:00+00:00"), ExpectRevoked()),
    "retries that are text": (
        protocol1(retries=CANARY),
        ExpectDeadLetter("its count of retries is none"),
    ),
    "retries that are negative": (
        protocol1(retries=-1),
        ExpectDeadLetter("its count of retries is none"),
    ),
    "retries that are null": (protocol1(retries=None), ExpectScored()),
    "time limits that are text": (
        protocol1(timelimit=CANARY),
        ExpectDeadLetter("ValueError as it was run"),
    ),
    "an invalid time zone": (protocol1(utc=CANARY, eta="2001-01-01T00:00:00"), ExpectScored()),
    "a group that is a list": (protocol1(taskset=[CANARY]), ExpectScored()),
    "callbacks that are text": (protocol1(callbacks=CANARY), ExpectFailed(AttributeError)),
    "a chord that is text": (protocol1(chord=CANARY), ExpectScored()),
}
