"""What lies in a queue and is no message, or no job: each becomes a dead letter."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import pickle
import zlib
from typing import Any, Final

from tests.corpus.cases import CANARY
from tests.corpus.envelopes import GOOD_BODY, encoded, message, raw, without

__all__ = ["NO_JOBS", "NO_MESSAGES"]

#: More than anything that reads JSON recursively can take.
_DEEP: Final = "[" * 100_000 + "]" * 100_000


def _with(old: bytes, new: bytes) -> bytes:
    """A good message in which something is replaced."""
    good = raw(message())
    assert old in good
    return good.replace(old, new)


#: Stands in each message for something that means nothing.
_PLACE: Final = b'"py"'

#: What kombu could not make a message of.
NO_MESSAGES: Final[dict[str, bytes | dict[str, Any]]] = {
    "nothing": b"",
    "a space": b" ",
    "NUL": b"\x00",
    "bytes": b"\xff\xfe\x00" + CANARY.encode(),
    "text": CANARY.encode(),
    "a byte order mark": b"\xef\xbb\xbf" + raw(message()),
    "UTF-16": json.dumps({"body": CANARY}).encode("utf-16"),
    "Latin-1": f'{{"body": "é{CANARY}"}}'.encode("latin-1"),
    "bytes that are no UTF-8 in a header": _with(_PLACE, b'"\xff\xfe"'),
    "UTF-8 that is too long for its character": _with(_PLACE, b'"\xc0\xaf"'),
    "a surrogate in UTF-8": _with(_PLACE, b'"\xed\xa0\x80"'),
    "a control character in a header": _with(_PLACE, b'"\x01\n"'),
    "compressed as a whole": zlib.compress(raw(message())),
    "in base64 as a whole": base64.b64encode(raw(message())),
    "a pickle as a whole": pickle.dumps({"body": CANARY}),
    "YAML": f"body: {CANARY}\nheaders: {{}}".encode(),
    "XML": f"<message>{CANARY}</message>".encode(),
    "a query": f"body={CANARY}&headers=1".encode(),
    "a request of HTTP": f"POST / HTTP/1.1\r\nHost: {CANARY}\r\n\r\n".encode(),
    "a command for Redis": b"*1\r\n$8\r\nFLUSHALL\r\n",
    "single quotes": str({"body": CANARY}).encode(),
    "a comma too many": b'{"body": "' + CANARY.encode() + b'",}',
    "a comment": raw(message()) + b" // " + CANARY.encode(),
    "two messages in one": raw(message()) + raw(message()),
    "cut JSON": b'{"body": "' + CANARY.encode(),
    "cut by one character": raw(message())[:-1],
    "cut in the middle": raw(message())[:500],
    "without its beginning": raw(message())[1:],
    "null": b"null",
    "true": b"true",
    "NaN": b"NaN",
    "a string": f'"{CANARY}"'.encode(),
    "a message in a string": json.dumps(raw(message()).decode()).encode(),
    "a number": b"1e999",
    "a number of ten thousand digits": b"9" * 10_000,
    "a number of ten thousand digits in a header": _with(_PLACE, b"9" * 10_000),
    "a list": b"[]",
    "a message in a list": b"[" + raw(message()) + b"]",
    "an empty object": b"{}",
    "deep nesting, open": b"[" * 100_000,
    "deep nesting, closed": _DEEP.encode(),
    "deep nesting of objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep nesting in a header": _with(_PLACE, _DEEP.encode()),
    "ten megabytes of nothing": b" " * 10_000_000,
    "a body alone": {"body": CANARY},
    "a body that is a number": message(body=1),
    "a body that is null": message(body=None),
    "a body that is a list": message(body=[CANARY]),
    "a body that is an object": message(body={CANARY: 1}),
    "headers that are a list": message() | {"headers": []},
    "headers that are null": message() | {"headers": None},
    "headers that are a string": message() | {"headers": CANARY},
    "headers that are a number": message() | {"headers": 1},
    "properties that are a list": message() | {"properties": []},
    "properties that are null": message() | {"properties": None},
    "properties that are a string": message() | {"properties": CANARY},
    "no delivery info": without("properties", "delivery_info"),
    "delivery info that is a list": message(properties={"delivery_info": []}),
    "delivery info that is null": message(properties={"delivery_info": None}),
    "delivery info that is a string": message(properties={"delivery_info": CANARY}),
    "an id that is a number": message(headers={"id": 5}),
    "an id that is true": message(headers={"id": True}),
    "an id that is a list": message(headers={"id": [CANARY]}),
    "an id that is an object": message(headers={"id": {CANARY: 1}}),
    "an id that is null": message(headers={"id": None}),
    "an empty id": message(headers={"id": ""}),
    "half a character as id": message(headers={"id": "\ud800"}),
    "a task that is a number": message(headers={"task": 5}),
    "a task that is null": message(headers={"task": None}),
    "a task that is a list": message(headers={"task": ["sentq.score"]}),
    "a task that is an object": message(headers={"task": {"name": "sentq.score"}}),
}


def _undecodable(body: str | bytes) -> tuple[dict[str, Any], str]:
    return message(body), "DecodeError"


def _shapeless(body: str) -> tuple[dict[str, Any], str]:
    return message(body), "InvalidTaskError"


def _compressed(compression: Any, body: bytes) -> dict[str, Any]:
    return message(body, headers={"compression": compression})


_BODIES: Final = {
    "bytes": _undecodable("\udcff\udcfe" + CANARY),
    "nothing": (message(""), "InvalidTaskError"),
    "NUL": _undecodable(b"\x00"),
    "text": _undecodable(CANARY),
    "cut short": _undecodable(GOOD_BODY[:-5]),
    "twice": _undecodable(GOOD_BODY + GOOD_BODY),
    "with a comma too many": _undecodable(f'[[["{CANARY}"],], {{}}, {{}}]'),
    "with a line break in a text": _undecodable(f'[[["{CANARY}\n"]], {{}}, {{}}]'),
    "with an escape that is none": _undecodable(f'[[["{CANARY}\\x"]], {{}}, {{}}]'),
    "in UTF-16": _undecodable(GOOD_BODY.encode("utf-16")),
    "in Latin-1": _undecodable(f'[[["é {CANARY}"]], {{}}, {{}}]'.encode("latin-1")),
    "with a byte order mark": _undecodable("\ufeff" + GOOD_BODY),
    "deep": _undecodable(_DEEP),
    "with a deep text": _undecodable(f'[[{"[" * 5000}"{CANARY}"{"]" * 5000}], {{}}, {{}}]'),
    "with a number of ten thousand digits": _undecodable(f"[[[{'9' * 10_000}]], {{}}, {{}}]"),
    "with a date that is none": _undecodable(
        f'[[{{"__type__": "datetime", "__value__": "{CANARY}"}}], {{}}, {{}}]'
    ),
    "with a UUID that is none": _undecodable(
        f'[[[{{"__type__": "uuid", "__value__": {{"hex": "{CANARY}"}}}}]], {{}}, {{}}]'
    ),
    "with bytes that are none": _undecodable(
        f'[[[{{"__type__": "base64", "__value__": ["{CANARY}"]}}]], {{}}, {{}}]'
    ),
    "with a decimal that is none": _undecodable(
        f'[[[{{"__type__": "decimal", "__value__": "{CANARY}"}}]], {{}}, {{}}]'
    ),
    "that says null": _shapeless("null"),
    "that says true": _shapeless("true"),
    "that says a number": _shapeless("5"),
    "that says a string": _shapeless(f'"{CANARY}"'),
    "that says an object": _shapeless(f'{{"a": "{CANARY}"}}'),
    "of no parts": _shapeless("[]"),
    "of two": _shapeless(f'[["{CANARY}"], {{}}]'),
    "of four": _shapeless(f'[["{CANARY}"], {{}}, {{}}, {{}}]'),
    "of strings": _shapeless(json.dumps([CANARY] * 3)),
    "of the word args": _shapeless('["args", {}, {}]'),
    "with arguments in an object": _shapeless(f'[{{"{CANARY}": 1}}, {{}}, {{}}]'),
    "with arguments that are null": _shapeless("[null, {}, {}]"),
    "with keywords in a list": _shapeless(f'[[["{CANARY}"]], [], {{}}]'),
    "with keywords that are null": _shapeless(f'[[["{CANARY}"]], null, {{}}]'),
    "with options in a list": _shapeless(f'[[["{CANARY}"]], {{}}, []]'),
    "with options that are a string": _shapeless(f'[[["{CANARY}"]], {{}}, "{CANARY}"]'),
}

_ENCODINGS: Final = {
    "an unknown body encoding": (
        message(properties={"body_encoding": "unknown"}),
        "as it was delivered",
    ),
    "a body encoding that is a list": (
        message(properties={"body_encoding": ["x"]}),
        "as it was delivered",
    ),
    "not base64": (message(body=f"**{CANARY}**"), "as it was delivered"),
    "not even ASCII where base64 should be": (message(body=f"é{CANARY}"), "as it was delivered"),
    "base64 cut short": (message(body="abc"), "as it was delivered"),
    "base64 of base64": (message(encoded(GOOD_BODY)), "DecodeError"),
    "base64 not announced": (without("properties", "body_encoding"), "DecodeError"),
    "an encoding that is a number": (message(content_encoding=5), "AttributeError"),
    "an encoding that is a list": (message(content_encoding=["utf-8"]), "AttributeError"),
    "a pickle": (
        message(pickle.dumps(CANARY), content_type="application/x-python-serialize"),
        "ContentDisallowed",
    ),
    "a pickle that says it is JSON": (message(pickle.dumps(CANARY)), "DecodeError"),
    "YAML": (message(f"- {CANARY}", content_type="application/x-yaml"), "ContentDisallowed"),
    "MessagePack": (message(content_type="application/x-msgpack"), "ContentDisallowed"),
    "plain text": (message(content_type="text/plain"), "ContentDisallowed"),
    "a type that nobody knows": (message(content_type=CANARY), "ContentDisallowed"),
    "a type that is a list": (message(content_type=["application/json"]), "TypeError"),
    "a type with a charset": (
        message(content_type="application/json; charset=utf-8"),
        "ContentDisallowed",
    ),
    "no type": (message(content_type=None), "its body is not JSON"),
    "bytes that say nothing of themselves": (
        message(content_type="application/data", content_encoding="binary"),
        "its body is not JSON",
    ),
    "an encoding that nobody knows, and no type": (
        message(content_type=None, content_encoding=CANARY),
        "its body is not JSON",
    ),
    "bytes that their encoding inflates": (
        message(
            zlib.compress(bytes(100_000_000), 9),
            content_type="application/data",
            content_encoding="zlib_codec",
        ),
        "its body is not JSON",
    ),
    "bytes that another encoding inflates, and no type": (
        message(bz2.compress(bytes(100_000_000)), content_type=None, content_encoding="BZ2"),
        "its body is not JSON",
    ),
}

_COMPRESSED: Final = {
    "unknown compression": (_compressed("x/y", b"x"), "its compression is none of"),
    "compression that is a list": (_compressed(["x"], b"x"), "its compression is none of"),
    "compression that is a number": (_compressed(1, b"x"), "its compression is none of"),
    "compression that is true": (
        message(headers={"compression": True}),
        "its compression is none of",
    ),
    "compression that kombu has and we have not": (
        _compressed("application/zstd", b"\x28\xb5\x2f\xfd"),
        "its compression is none of",
    ),
    "compression that it has not": (
        _compressed("zlib", GOOD_BODY.encode()),
        "its body cannot be inflated",
    ),
    "compression of another kind": (
        _compressed("lzma", zlib.compress(GOOD_BODY.encode())),
        "its body cannot be inflated",
    ),
    "compressed and cut short": (
        _compressed("application/x-bz2", bz2.compress(GOOD_BODY.encode())[:-10]),
        "ValueError as it was decoded",
    ),
    "compressed nothing": (_compressed("zlib", b""), "TypeError as it was decoded"),
    "compressed, and no JSON": (_compressed("zlib", zlib.compress(CANARY.encode())), "DecodeError"),
    "a bomb of zlib": (_compressed("zlib", zlib.compress(bytes(50_000_000), 9)), "inflates to"),
    "a bomb of bzip2": (_compressed("bzip2", bz2.compress(bytes(50_000_000))), "inflates to"),
    "a bomb of lzma": (_compressed("lzma", lzma.compress(bytes(50_000_000))), "inflates to"),
    "bombs one after the other": (
        _compressed("bzip2", bz2.compress(bytes(900_000)) * 50),
        "inflates to",
    ),
}

_TASKS: Final = {
    "no id": (without("headers", "id"), "its id is none"),
    "no task": (without("headers", "task"), "it is not a task"),
    "no headers at all": (message() | {"headers": {}}, "it is not a task"),
    "an empty task": (message(headers={"task": ""}), "its task is not registered"),
    "an unknown task": (message(headers={"task": f"{CANARY}.x"}), "its task is not registered"),
    "a task in other letters": (
        message(headers={"task": "SENTQ.SCORE"}),
        "its task is not registered",
    ),
    "a task with a space": (
        message(headers={"task": "sentq.score "}),
        "its task is not registered",
    ),
    "a task that is half a character": (
        message(headers={"task": "\ud800"}),
        "its task is not registered",
    ),
    **{
        f"Celery's own task {name}": (
            message(headers={"task": f"celery.{name}"}),
            "its task is not registered",
        )
        for name in (
            *("accumulate", "backend_cleanup", "chain", "chord", "chord_unlock", "chunks"),
            *("group", "map", "starmap"),
        )
    },
}

#: What lies in the queue, and what the reason says.
NO_JOBS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    **{f"a body {name}": case for name, case in _BODIES.items()},
    **_ENCODINGS,
    **_COMPRESSED,
    **_TASKS,
}
