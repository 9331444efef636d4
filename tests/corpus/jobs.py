"""What a job may wrongly be called with: it is a message of Celery's, and breaks the contract.

Each is sent on a plain job's way and on Celery's own; the sender reads the same error.
"""

from __future__ import annotations

import json
from typing import Any, Final

from sentq.contract import ErrorCode
from sentq.errors import EmptyJob, InvalidInput, MessageTooLarge, TooManyTexts
from tests.corpus.cases import CANARY, ExpectedResult, ExpectFailed, ExpectScored
from tests.corpus.envelopes import body_of

__all__ = ["JOBS"]

_TEXT: Final = f"{CANARY} good"


def _called(*args: Any, **kwargs: Any) -> str:
    return json.dumps([args, kwargs, {}])


_WRONG_ARGUMENTS: Final = {
    "no argument": _called(),
    "two arguments": _called([_TEXT], [_TEXT]),
    "one argument, twice": _called([_TEXT], texts=[_TEXT]),
    "an unknown option": _called([_TEXT], **{CANARY: 1}),
    "an unknown option without a name": _called([_TEXT], **{"": 1}),
    "an option of Python's": _called([_TEXT], __class__="x", get=1),
    "a half character as an option": '[[["x"]], {"\\ud800": 1}, {}]',
    "null": _called(None),
    "true": "[[true], {}, {}]",
    "a number": _called(5),
    "NaN": _called(float("nan")),
    "an object": _called({CANARY: 1}),
    "an object that looks like a list": _called({"0": _TEXT, "length": 1}),
    "texts that are null": _called(texts=None),
    "texts that are an object": _called(texts={"texts": [_TEXT]}),
    "an array of numbers for each text": _called({"shape": [1, 2], "data": [CANARY]}),
}

JOBS: Final[dict[str, tuple[str, ExpectedResult]]] = {
    **{name: (body, ExpectFailed(InvalidInput)) for name, body in _WRONG_ARGUMENTS.items()},
    "no text": (body_of(), ExpectFailed(EmptyJob)),
    "no text, by name": (_called(texts=[]), ExpectFailed(EmptyJob)),
    "one text too many": (body_of(*[CANARY] * 257), ExpectFailed(TooManyTexts)),
    "one empty text too many": (body_of(*[""] * 257), ExpectFailed(TooManyTexts)),
    "a hundred thousand texts": (body_of(*["x"] * 100_000), ExpectFailed(TooManyTexts)),
    "a huge text": (body_of(CANARY * 1_000_000), ExpectFailed(MessageTooLarge)),
    "emoji that fill a message": (body_of("\U0001f600" * 90_000), ExpectFailed(MessageTooLarge)),
    "a message full of nothing": (
        f"[[[]], {{}}, {{}}{' ' * 1_100_000}]",
        ExpectFailed(MessageTooLarge),
    ),
    "a text instead of a list": (_called(_TEXT), ExpectScored()),
    "a text by name": (_called(texts=_TEXT), ExpectScored()),
    "texts by name": (_called(texts=[_TEXT, ""]), ExpectScored((None, ErrorCode.EMPTY_TEXT))),
    "as many texts as there may be": (
        body_of(*(f"{CANARY} {number}" for number in range(256))),
        ExpectScored((None,) * 256),
    ),
    "one text again and again": (body_of(*[_TEXT] * 256), ExpectScored((None,) * 256)),
    "nothing but empty texts": (body_of(*[""] * 256), ExpectScored((ErrorCode.EMPTY_TEXT,) * 256)),
    "true, 1 and 1.0, which are equal": (
        '[[[true, 1, 1.0, "1"]], {}, {}]',
        ExpectScored((*(ErrorCode.NOT_A_STRING,) * 3, None)),
    ),
    "a key twice": ('[[], {"texts": [], "texts": ["good"]}, {}]', ExpectScored()),
    "spaces between all parts": (f' [ [ [ "{_TEXT}" ] ] , {{ }} , {{ }} ] \n', ExpectScored()),
    "escapes for every letter": ('[[["\\u0067\\u006f\\u006f\\u0064"]], {}, {}]', ExpectScored()),
}
