"""Celery's first protocol, which says everything in the body: jobs in it, and what only looks
like one."""

from __future__ import annotations

from typing import Any, Final

from sentq.errors import EmptyJob, InvalidInput, TooManyTexts
from tests.corpus.cases import CANARY, Buried, Ending, Failed, Revoked, Scored
from tests.corpus.envelopes import protocol1

__all__ = ["FIRST_PROTOCOL"]

FIRST_PROTOCOL: Final[dict[str, tuple[dict[str, Any], Ending]]] = {
    "a job": (protocol1(), Scored()),
    "no arguments": (protocol1(args=...), Failed(InvalidInput)),
    "arguments in an object": (protocol1(args={CANARY: 1}), Buried("KeyError as it was handled")),
    "arguments that are a string": (protocol1(args=CANARY), Failed(InvalidInput)),
    "arguments that are null": (protocol1(args=None), Buried("TypeError as it was handled")),
    "no texts": (protocol1(args=[[]]), Failed(EmptyJob)),
    "too many texts": (protocol1(args=[[CANARY] * 257]), Failed(TooManyTexts)),
    "an unknown option": (protocol1(kwargs={CANARY: 1}), Failed(InvalidInput)),
    "keywords in a list": (protocol1(kwargs=[CANARY]), Buried("InvalidTaskError as it was read")),
    "keywords that are null": (protocol1(kwargs=None), Buried("InvalidTaskError as it was read")),
    "no keywords": (protocol1(kwargs=...), Scored()),
    "no task": (protocol1(task=...), Buried("it is not a task")),
    "a task that is a list": (protocol1(task=[CANARY]), Buried("TypeError as it was handled")),
    "a task that is null": (protocol1(task=None), Buried("its task is not registered")),
    "an unknown task": (protocol1(task=CANARY), Buried("its task is not registered")),
    "no id": (protocol1(id=...), Buried("its id is none")),
    "an id that is a number": (protocol1(id=5), Buried("its id is none")),
    "an id that is a list": (protocol1(id=[CANARY]), Buried("its id is none")),
    "an id that is null": (protocol1(id=None), Buried("its id is none")),
    "an empty id": (protocol1(id=""), Buried("its id is none")),
    "a line break in its id": (protocol1(id="a\nb"), Buried("its id is none")),
    "half a character as id": (protocol1(id="\ud800"), Buried("its id is none")),
    "an eta that is text": (protocol1(eta=CANARY), Buried("its eta is no date")),
    "an eta that is a number": (protocol1(eta=5), Buried("its eta is no date")),
    "an eta in the year 9999": (
        protocol1(eta="9999-12-31T23:59:59+00:00"),
        Buried("its eta is out of reach"),
    ),
    "an eta that has passed": (protocol1(eta="2001-01-01T00:00:00+00:00"), Scored()),
    "expires that is text": (protocol1(expires=CANARY), Buried("InvalidTaskError as it was read")),
    "expires that has passed": (protocol1(expires="2001-01-01T00:00:00+00:00"), Revoked()),
    "retries that are text": (protocol1(retries=CANARY), Buried("its count of retries is none")),
    "retries that are negative": (protocol1(retries=-1), Buried("its count of retries is none")),
    "retries that are null": (protocol1(retries=None), Scored()),
    "time limits that are text": (protocol1(timelimit=CANARY), Buried("ValueError as it was run")),
    "a zone that is none": (protocol1(utc=CANARY, eta="2001-01-01T00:00:00"), Scored()),
    "a group that is a list": (protocol1(taskset=[CANARY]), Scored()),
    "callbacks that are text": (protocol1(callbacks=CANARY), Failed(AttributeError)),
    "a chord that is text": (protocol1(chord=CANARY), Scored()),
}
