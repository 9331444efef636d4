"""Wrong arguments of a job: valid Celery messages that violate the contract.

Each is sent on the path of a plain job and on Celery's own; the client reads the same error.
"""

from __future__ import annotations

import json
from typing import Any, Final

from sentq.contract import ErrorCode
from sentq.errors import EmptyJob, InvalidInput, MessageTooLarge, TooManyTexts
from tests.corpus.expected import (
    CANARY,
    ExpectDeadLetter,
    ExpectedResult,
    ExpectFailed,
    ExpectScored,
)
from tests.corpus.messages import body_of

__all__ = ["JOBS"]

_TEXT: Final = f"{CANARY} good"


def _called(*args: Any, **kwargs: Any) -> str:
    return json.dumps([args, kwargs, {}])


_WRONG_ARGUMENTS: Final = {
    "without an argument": _called(),
    "two arguments": _called([_TEXT], [_TEXT]),
    "one argument, twice": _called([_TEXT], texts=[_TEXT]),
    "an unknown option": _called([_TEXT], **{CANARY: 1}),
    "an unknown option without a name": _called([_TEXT], **{"": 1}),
    "a special name of Python": _called([_TEXT], __class__="x", get=1),
    "a surrogate as an option": '[[["x"]], {"\\ud800": 1}, {}]',
    "null": _called(None),
    "true": "[[true], {}, {}]",
    "a number": _called(5),
    "NaN": _called(float("nan")),
    "an object": _called({CANARY: 1}),
    "an object in the form of a list": _called({"0": _TEXT, "length": 1}),
    "texts that are null": _called(texts=None),
    "texts that are an object": _called(texts={"texts": [_TEXT]}),
    "an array of numbers for each text": _called({"shape": [1, 2], "data": [CANARY]}),
}

JOBS: Final[dict[str, tuple[str, ExpectedResult]]] = {
    **{name: (body, ExpectFailed(InvalidInput)) for name, body in _WRONG_ARGUMENTS.items()},
    "without texts": (body_of(), ExpectFailed(EmptyJob)),
    "without texts, by name": (_called(texts=[]), ExpectFailed(EmptyJob)),
    "one text too many": (body_of(*[CANARY] * 257), ExpectFailed(TooManyTexts)),
    "one empty text too many": (body_of(*[""] * 257), ExpectFailed(TooManyTexts)),
    "a hundred thousand texts": (body_of(*["x"] * 100_000), ExpectFailed(TooManyTexts)),
    "a huge text": (
        body_of(CANARY * 1_000_000),
        ExpectDeadLetter("the message is too large"),
    ),
    "emoji that fill a message": (body_of("\U0001f600" * 90_000), ExpectFailed(MessageTooLarge)),
    "a message full of spaces": (
        f"[[[]], {{}}, {{}}{' ' * 1_100_000}]",
        ExpectFailed(MessageTooLarge),
    ),
    "a text instead of a list": (_called(_TEXT), ExpectScored()),
    "a text by name": (_called(texts=_TEXT), ExpectScored()),
    "texts by name": (_called(texts=[_TEXT, ""]), ExpectScored((None, ErrorCode.EMPTY_TEXT))),
    "the largest number of texts": (
        body_of(*(f"{CANARY} {number}" for number in range(256))),
        ExpectScored((None,) * 256),
    ),
    "one text 256 times": (body_of(*[_TEXT] * 256), ExpectScored((None,) * 256)),
    "only empty texts": (body_of(*[""] * 256), ExpectScored((ErrorCode.EMPTY_TEXT,) * 256)),
    "true, 1 and 1.0, which are equal": (
        '[[[true, 1, 1.0, "1"]], {}, {}]',
        ExpectScored((*(ErrorCode.NOT_A_STRING,) * 3, ErrorCode.NO_WORDS)),
    ),
    "a key twice": ('[[], {"texts": [], "texts": ["good"]}, {}]', ExpectScored()),
    "spaces between all parts": (f' [ [ [ "{_TEXT}" ] ] , {{ }} , {{ }} ] \n', ExpectScored()),
    "escapes for every letter": ('[[["\\u0067\\u006f\\u006f\\u0064"]], {}, {}]', ExpectScored()),
}
