"""Messages in Celery's protocol 1, whose body holds all options: valid and invalid jobs."""

from __future__ import annotations

from typing import Any, Final

from sentq.errors import EmptyJob, EtaTooFar, InvalidInput, TooManyTexts
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
        ExpectDeadLetter("KeyError while the message was handled"),
    ),
    "arguments that are a string": (protocol1(args=CANARY), ExpectFailed(InvalidInput)),
    "arguments that are null": (
        protocol1(args=None),
        ExpectDeadLetter("TypeError while the message was handled"),
    ),
    "without texts": (protocol1(args=[[]]), ExpectFailed(EmptyJob)),
    "too many texts": (protocol1(args=[[CANARY] * 257]), ExpectFailed(TooManyTexts)),
    "an unknown keyword": (protocol1(kwargs={CANARY: 1}), ExpectFailed(InvalidInput)),
    "keywords in a list": (
        protocol1(kwargs=[CANARY]),
        ExpectDeadLetter("InvalidTaskError while the message was read"),
    ),
    "keywords that are null": (
        protocol1(kwargs=None),
        ExpectDeadLetter("InvalidTaskError while the message was read"),
    ),
    "without keywords": (protocol1(kwargs=...), ExpectScored()),
    "without a task": (protocol1(task=...), ExpectDeadLetter("the message is not a task")),
    "a task that is a list": (
        protocol1(task=[CANARY]),
        ExpectDeadLetter("TypeError while the message was handled"),
    ),
    "a task that is null": (protocol1(task=None), ExpectDeadLetter("the task is not registered")),
    "an unknown task": (protocol1(task=CANARY), ExpectDeadLetter("the task is not registered")),
    "without an id": (protocol1(id=...), ExpectDeadLetter("the id is missing or invalid")),
    "an id that is a number": (protocol1(id=5), ExpectDeadLetter("the id is missing or invalid")),
    "an id that is a list": (
        protocol1(id=[CANARY]),
        ExpectDeadLetter("the id is missing or invalid"),
    ),
    "an id that is null": (protocol1(id=None), ExpectDeadLetter("the id is missing or invalid")),
    "an empty id": (protocol1(id=""), ExpectDeadLetter("the id is missing or invalid")),
    "a line break in its id": (
        protocol1(id="a\nb"),
        ExpectDeadLetter("the id is missing or invalid"),
    ),
    "a surrogate as id": (protocol1(id="\ud800"), ExpectDeadLetter("the id is missing or invalid")),
    "an eta that is text": (protocol1(eta=CANARY), ExpectDeadLetter("the eta is not a date")),
    "an eta that is a number": (protocol1(eta=5), ExpectDeadLetter("the eta is not a date")),
    "an eta in the year 9999": (
        protocol1(eta="9999-12-31T23:59:59+00:00"),
        ExpectFailed(EtaTooFar),
    ),
    "an eta that has passed": (protocol1(eta="2001-01-01T00:00:00+00:00"), ExpectScored()),
    "expires that is text": (
        protocol1(expires=CANARY),
        ExpectDeadLetter("InvalidTaskError while the message was read"),
    ),
    "expires that has passed": (protocol1(expires="2001-01-01T00:00:00+00:00"), ExpectRevoked()),
    "retries that are text": (
        protocol1(retries=CANARY),
        ExpectDeadLetter("the number of retries is invalid"),
    ),
    "retries that are negative": (
        protocol1(retries=-1),
        ExpectDeadLetter("the number of retries is invalid"),
    ),
    "retries that are null": (protocol1(retries=None), ExpectScored()),
    "time limits that are text": (
        protocol1(timelimit=CANARY),
        ExpectDeadLetter("ValueError while the job was run"),
    ),
    "an invalid time zone": (protocol1(utc=CANARY, eta="2001-01-01T00:00:00"), ExpectScored()),
    "a group that is a list": (protocol1(taskset=[CANARY]), ExpectScored()),
    "callbacks that are text": (
        protocol1(callbacks=CANARY),
        ExpectDeadLetter("what follows the job is not a signature"),
    ),
    "a chord that is text": (
        protocol1(chord=CANARY),
        ExpectDeadLetter("what follows the job is not a signature"),
    ),
}
