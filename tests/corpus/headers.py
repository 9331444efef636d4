"""Headers, properties and options of a valid job.

An unreadable value that Celery needs to run the job makes it a dead letter. A value that is only
passed on has no effect.
"""

from __future__ import annotations

import json
from typing import Any, Final

from sentq.contract import ErrorCode
from sentq.errors import EtaTooFar, InvalidInput
from tests.corpus.expected import (
    CANARY,
    ExpectDeadLetter,
    ExpectedResult,
    ExpectFailed,
    ExpectNothing,
    ExpectRevoked,
    ExpectScored,
)
from tests.corpus.messages import body_of, message, without

__all__ = ["HEADERS"]


def _dead_lettered(reason: str, **headers: Any) -> tuple[dict[str, Any], ExpectedResult]:
    return message(headers=headers), ExpectDeadLetter(reason)


def _failed(error: type[Exception], **headers: Any) -> tuple[dict[str, Any], ExpectedResult]:
    return message(headers=headers), ExpectFailed(error)


def _scored(**headers: Any) -> tuple[dict[str, Any], ExpectedResult]:
    return message(headers=headers), ExpectScored()


def _options(expected: ExpectedResult, **options: Any) -> tuple[dict[str, Any], ExpectedResult]:
    return message(json.dumps([[[f"{CANARY} text"]], {}, options])), expected


def _lacking(part: str) -> dict[str, Any]:
    return {name: value for name, value in message().items() if name != part}


def _with_line_breaks(whole: dict[str, Any]) -> dict[str, Any]:
    return whole | {"body": "\n".join(whole["body"][i : i + 8] for i in range(0, 200, 8))}


def _past_deadline(deadline_ms: int) -> tuple[dict[str, Any], ExpectedResult]:
    headers = {"sentq_deadline_ms": deadline_ms}
    return message(headers=headers), ExpectScored((ErrorCode.DEADLINE_PASSED,))


_TIMES: Final = {
    "an eta that is text": _dead_lettered("the eta is not a date", eta=CANARY),
    "an eta that is a number": _dead_lettered("the eta is not a date", eta=1e12),
    "an eta that is true": _dead_lettered("the eta is not a date", eta=True),
    "an eta that is a list": _dead_lettered("the eta is not a date", eta=[CANARY]),
    "an eta that is an object": _dead_lettered("the eta is not a date", eta={CANARY: 1}),
    "an eta on the 30th of February": _dead_lettered(
        "the eta is not a date", eta="2026-02-30T00:00:00"
    ),
    "an eta in the year 9999": _failed(EtaTooFar, eta="9999-12-31T23:59:59.999999+00:00"),
    "an eta after the year 9999": _failed(EtaTooFar, eta="9999-12-31T23:59:59.999999-12:00"),
    "an eta before the year 1": _dead_lettered(
        "the eta is too far away", eta="0001-01-01T00:00:00+14:00"
    ),
    "an eta of another century, without a zone": _failed(EtaTooFar, eta="2150-01-01T00:00:00"),
    "an eta that has passed": _scored(eta="2001-01-01T00:00:00+00:00"),
    "expires that is text": _dead_lettered("InvalidTaskError", expires=CANARY),
    "expires that is a number": _dead_lettered("InvalidTaskError", expires=1e12),
    "expires that is a list": _dead_lettered("InvalidTaskError", expires=[CANARY]),
    "expires that has passed": (
        message(headers={"expires": "2001-01-01T00:00:00+00:00"}),
        ExpectRevoked(),
    ),
    "expiry in the year 9999": _scored(expires="9999-12-31T23:59:59+00:00"),
    "a time limit that is text": _dead_lettered("ValueError", timelimit="x"),
    "a time limit that is a number": _dead_lettered("TypeError", timelimit=5),
    "time limits of three": _dead_lettered("ValueError", timelimit=[1, 2, 3]),
    "time limits that are text": _scored(timelimit=["a", "b"]),
    "time limits that are negative": _scored(timelimit=[-1, -1]),
    "time limits that are zero": _scored(timelimit=[0, 0]),
}

_COUNTS: Final = {
    "retries that are text": _dead_lettered("the number of retries", retries=CANARY),
    "retries that are negative": _dead_lettered("the number of retries", retries=-1),
    "retries that are a fraction": _dead_lettered("the number of retries", retries=1.5),
    "retries that are a list": _dead_lettered("the number of retries", retries=[1]),
    "retries beyond 64 bits": _dead_lettered("the number of retries", retries=2**70),
    "retries beyond 64 bits, read leniently": _dead_lettered(
        "the number of retries", retries=2**70, x="\ud800"
    ),
    "retries that are null": _scored(retries=None),
    "retries that are true": _scored(retries=True),
}

_STAMPS: Final = {
    "stamps that are a number": _dead_lettered("TypeError", stamped_headers=5),
    "stamps that are a list": _scored(stamped_headers=["x"], stamps=["x"]),
    "stamps that are not there": _scored(stamped_headers=["x"], stamps={}),
    "stamps of lists": _scored(stamped_headers=["x"], stamps={"x": [[CANARY], {}]}),
    "stamped headers that are text": _scored(stamped_headers=CANARY, stamps={}),
    "stamped headers that are lists": _dead_lettered(
        "TypeError while the job was run", stamped_headers=[[1]], stamps={}
    ),
}

_OTHER_SHAPE: Final = ExpectDeadLetter("a signature that follows the job has another shape")

_NO_SIGNATURES: Final[dict[str, dict[str, Any]]] = {
    "a chain of strings": {"chain": [CANARY]},
    "a chain that is text": {"chain": CANARY},
    "a chain that is a number": {"chain": 5},
    "a chord that is text": {"chord": "x"},
    "callbacks that are text": {"callbacks": CANARY},
    "callbacks that are a number": {"callbacks": 5},
    "a callback that is text": {"callbacks": [CANARY]},
    "error callbacks that are text": {"errbacks": CANARY},
    "error callbacks of numbers": {"errbacks": [5]},
}

_FOLLOWERS: Final = {
    **{
        name: _options(ExpectDeadLetter("what follows the job is not a signature"), **options)
        for name, options in _NO_SIGNATURES.items()
    },
    "a chain of an empty signature": _options(_OTHER_SHAPE, chain=[{}]),
    "an empty chord": _options(ExpectScored(), chord={}),
    "a callback that is not a signature": _options(_OTHER_SHAPE, callbacks=[{CANARY: 1}]),
    "a callback without a task": _options(_OTHER_SHAPE, callbacks=[{"task": None, "args": CANARY}]),
    "a callback into a key of kombu's": _options(
        ExpectDeadLetter("the option queue of a signature is invalid"),
        callbacks=[{"task": CANARY, "options": {"queue": "unacked"}}],
    ),
    "an error callback that would run in the worker": _options(
        ExpectDeadLetter("names a task of Celery's own"),
        errbacks=[{"task": "celery.chord_unlock", "args": [CANARY]}],
    ),
    "callbacks in a header": _scored(callbacks=[{"task": CANARY}], retries=1),
    "unknown options": _options(ExpectScored(), **{CANARY: [CANARY]}),
    "options that are null": (message('[[["x"]], {}, null]'), ExpectScored()),
    "a group that is a number": _scored(group=5, group_index="x"),
    "a group that is a list": _scored(group=["x"]),
    "a group that is text": _scored(group="a group"),
}

_IDS: Final = {
    "a line break in its id": _dead_lettered("it is not a Celery message", id="a\nb"),
    "terminal colours in its id": _dead_lettered("it is not a Celery message", id="\x1b[31mred"),
    "NUL in its id": _dead_lettered("it is not a Celery message", id="a\x00b"),
    "a direction mark in its id": _dead_lettered("it is not a Celery message", id="\u202egnp.exe"),
    "a space as its id": _scored(id=" "),
    "wildcards as its id": _scored(id="*?[a-z]"),
    "a path as its id": _scored(id="../../x"),
    "a format as its id": _scored(id="%s {0} %(id)s"),
    "quotes in its id": _scored(id="\"'`\\"),
    "an id in Cyrillic and Chinese": _scored(id="задача-好"),
    "a long id": _scored(id="x" * 100_000),
    "a version 7 id of the far future": _scored(id="ffffffff-ffff-7fff-bfff-ffffffffffff"),
    "a version 7 id of the year 1970": _scored(id="00000000-0000-7000-8000-000000000000"),
    "an id as long as a UUID": _scored(id="zzzzzzzz-zzzz-7zzz-zzzz-zzzzzzzzzzzz"),
}

_DETAILS: Final = {
    f"a detail that is {name}": (
        message(headers={"sentq_detail": value}),
        ExpectFailed(InvalidInput),
    )
    for name, value in {"unknown": CANARY, "a list": ["sentences"], "true": True}.items()
}

_DEADLINES: Final = {
    **{
        f"a deadline that is {name}": (
            message(headers={"sentq_deadline_ms": value}),
            ExpectFailed(InvalidInput),
        )
        for name, value in {
            "text": CANARY,
            "a number in text": "1",
            "a list": [1],
            "an object": {"ms": 1},
            "true": True,
            "NaN": float("nan"),
            "infinite": float("inf"),
        }.items()
    },
    "a deadline that is null": _scored(sentq_deadline_ms=None),
    "a deadline beyond 64 bits": _scored(sentq_deadline_ms=2**80),
    "a deadline that has passed": _past_deadline(0),
    "a deadline far before 1970": _past_deadline(-(2**70)),
}

_OWN: Final = {
    **{
        f"a count of deliveries that is {name}": _scored(sentq_deliveries=value)
        for name, value in {
            "text": CANARY,
            "a list": [3],
            "null": None,
            "negative": -5,
            "a fraction": 0.5,
            "NaN": float("nan"),
        }.items()
    },
    **{
        f"a mark of running alone that is {name}": _scored(sentq_alone=value)
        for name, value in {
            "text": CANARY,
            "a number": 5,
            "an empty object": {},
            "an object of wrong types": {"worker": [CANARY], "at_s": CANARY},
        }.items()
    },
    "delivery headers of wrong types, in a message that is dead-lettered": _dead_lettered(
        "the eta is not a date",
        eta="never",
        sentq_deliveries=[CANARY],
        sentq_alone=CANARY,
        sentq_first_error=CANARY + "\n",
        sentq_last_error=[CANARY],
    ),
    "a count of deliveries beyond 64 bits": _scored(sentq_deliveries=2**80),
    "a count of deliveries in the thousands": _scored(sentq_deliveries=5_000),
    "many deliveries, on Celery's own path": _scored(sentq_deliveries=5_000, retries=1),
    "first and last errors of wrong types": _scored(
        sentq_first_error=[CANARY], sentq_last_error={"a": 1}
    ),
    "a local-only mark that is text": _scored(sentq_local_only=CANARY),
    "a detail that is null": _scored(sentq_detail=None),
    "an unknown header of sentq": _scored(sentq_unheard_of={CANARY: [CANARY]}),
}

_PASSED_ON: Final = {
    "wrong types of headers that are only passed on": _scored(
        root_id=["x"], parent_id={}, origin=5, argsrepr=["x"]
    ),
    "a surrogate in other headers": _scored(root_id="\ud800", shadow="\ud800", retries=1),
    "a name that is a list": _scored(shadow=[CANARY]),
    "a log line as its name": _scored(shadow="x\n[2026-01-01: ERROR] forged", retries=1),
    "a name that is a list, on Celery's own path": _scored(shadow=["x"], retries=1),
    "a text as its representation of arguments": _scored(argsrepr=CANARY, kwargsrepr=CANARY),
    "the same representation, on Celery's own path": _scored(
        argsrepr=CANARY, kwargsrepr=CANARY, retries=1
    ),
    "a text in an unknown header": _scored(**{CANARY: CANARY, "x-text": CANARY}),
    "a text in an unknown header, on Celery's own path": _scored(retries=1, **{CANARY: CANARY}),
    "ignoring its result": (message(headers={"ignore_result": True}), ExpectNothing()),
    "ignoring its result, in text": (message(headers={"ignore_result": "no"}), ExpectNothing()),
    "redelivered, in text": _scored(redelivered=CANARY),
    "a nesting of a hundred in a header": _scored(x=json.loads("[" * 100 + "]" * 100), retries=1),
    "another language": _scored(lang="php"),
    "a replacement depth that is text": _scored(replaced_task_nesting=CANARY, retries=1),
    "a number beyond 64 bits in a header": _scored(x=10**30),
    "NaN in a header": _scored(x=float("nan")),
    "headers that are too large": (
        message(headers={"x": "x" * 300_000, "retries": 1}),
        ExpectDeadLetter("the headers are larger"),
    ),
    "ten thousand headers": _scored(**{f"x-{number}": number for number in range(10_000)}),
    "a header named like a method": _scored(get=5, copy=5, items=5, update=5),
    "a large number, and a body of null": (
        message("null", headers={"x": 10**30}),
        ExpectDeadLetter("InvalidTaskError"),
    ),
    "a surrogate, and a body of null": (
        message("null", headers={"x": "\ud800"}),
        ExpectDeadLetter("InvalidTask"),
    ),
}

_PROPERTIES: Final[dict[str, tuple[dict[str, Any], ExpectedResult]]] = {
    "without a delivery tag": (without("properties", "delivery_tag"), ExpectScored()),
    "a delivery tag that is a list": (message(properties={"delivery_tag": [1]}), ExpectScored()),
    "a shared delivery tag": (message(properties={"delivery_tag": "1"}), ExpectScored()),
    "the same delivery tag again": (message(properties={"delivery_tag": "1"}), ExpectScored()),
    "wrong properties": (
        message(properties={"priority": "x", "reply_to": ["x"], "correlation_id": {}}),
        ExpectScored(),
    ),
    "a priority that is a list": (message(properties={"priority": [9]}), ExpectScored()),
    "a priority of a million": (message(properties={"priority": 1_000_000}), ExpectScored()),
    "a negative priority": (message(properties={"priority": -1}), ExpectScored()),
    "a delivery mode that is text": (message(properties={"delivery_mode": CANARY}), ExpectScored()),
    "delivery info of wrong types": (
        message(properties={"delivery_info": {"exchange": 5, "routing_key": [CANARY]}}),
        ExpectScored(),
    ),
    "delivery info of wrong types, on Celery's own path": (
        message(
            properties={"delivery_info": {"exchange": 5, "routing_key": [CANARY]}},
            headers={"retries": 1},
        ),
        ExpectScored(),
    ),
    "delivery info of wrong types, in a message that is dead-lettered": (
        message(
            properties={"delivery_info": {"exchange": 5, "routing_key": [CANARY]}},
            headers={"eta": "never"},
        ),
        ExpectDeadLetter("the eta is not a date"),
    ),
    "another queue's name, in a message that is dead-lettered": (
        message(
            properties={"delivery_info": {"exchange": "", "routing_key": CANARY}},
            headers={"eta": "never"},
        ),
        ExpectDeadLetter("the eta is not a date"),
    ),
    "a surrogate as queue name, in a message that is dead-lettered": (
        message(
            properties={"delivery_info": {"exchange": "", "routing_key": "\ud800"}},
            headers={"eta": "never"},
        ),
        ExpectDeadLetter("the eta is not a date"),
    ),
    "empty delivery info, in a message that is dead-lettered": (
        message(properties={"delivery_info": {}}, headers={"eta": "never"}),
        ExpectDeadLetter("the eta is not a date"),
    ),
    "empty delivery info": (message(properties={"delivery_info": {}}), ExpectScored()),
    "empty delivery info, on Celery's own path": (
        message(properties={"delivery_info": {}}, headers={"retries": 1}),
        ExpectScored(),
    ),
    "unknown properties": (message(properties={CANARY: CANARY, "app_id": [1]}), ExpectScored()),
    "an unknown encoding": (message(content_encoding="nothing"), ExpectScored()),
    "an encoding that is null": (message(content_encoding=None), ExpectScored()),
    "without an encoding": (_lacking("content-encoding"), ExpectScored()),
    "an encoding in capitals": (message(content_encoding="UTF-8"), ExpectScored()),
    "an unknown part": (message() | {CANARY: CANARY}, ExpectScored()),
    "a body that is not encoded": (
        message(body=body_of(f"{CANARY} text"), properties={"body_encoding": None}),
        ExpectScored(),
    ),
    "line breaks in base64": (
        _with_line_breaks(message(body_of(f"{CANARY} text"))),
        ExpectScored(),
    ),
}

HEADERS: Final[dict[str, tuple[dict[str, Any], ExpectedResult]]] = {
    **_TIMES,
    **_COUNTS,
    **_STAMPS,
    **_FOLLOWERS,
    **_IDS,
    **_DEADLINES,
    **_OWN,
    **_PASSED_ON,
    **_PROPERTIES,
}
