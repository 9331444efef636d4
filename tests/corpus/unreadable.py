"""Queue entries that are not messages, and messages that are not jobs: all are dead-lettered."""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import pickle
import zlib
from typing import Any, Final

from tests.corpus.expected import CANARY
from tests.corpus.messages import GOOD_BODY, encoded, message, raw, without

__all__ = ["NOT_JOBS", "NOT_MESSAGES"]

#: Deeper than recursive readers of JSON can read.
_DEEP: Final = "[" * 100_000 + "]" * 100_000


def _with(old: bytes, new: bytes) -> bytes:
    """Return a valid message with some bytes replaced."""
    valid = raw(message())
    assert old in valid
    return valid.replace(old, new)


#: A value in each message that has no effect.
_UNUSED_VALUE: Final = b'"py"'

#: Entries that kombu cannot parse.
NOT_MESSAGES: Final[dict[str, bytes | dict[str, Any]]] = {
    "an empty entry": b"",
    "a space": b" ",
    "NUL": b"\x00",
    "bytes": b"\xff\xfe\x00" + CANARY.encode(),
    "text": CANARY.encode(),
    "a byte order mark": b"\xef\xbb\xbf" + raw(message()),
    "UTF-16": json.dumps({"body": CANARY}).encode("utf-16"),
    "Latin-1": f'{{"body": "é{CANARY}"}}'.encode("latin-1"),
    "bytes that are not UTF-8 in a header": _with(_UNUSED_VALUE, b'"\xff\xfe"'),
    "an overlong UTF-8 sequence": _with(_UNUSED_VALUE, b'"\xc0\xaf"'),
    "a surrogate in UTF-8": _with(_UNUSED_VALUE, b'"\xed\xa0\x80"'),
    "a control character in a header": _with(_UNUSED_VALUE, b'"\x01\n"'),
    "compressed as a whole": zlib.compress(raw(message())),
    "in base64 as a whole": base64.b64encode(raw(message())),
    "a pickle as a whole": pickle.dumps({"body": CANARY}),
    "YAML": f"body: {CANARY}\nheaders: {{}}".encode(),
    "XML": f"<message>{CANARY}</message>".encode(),
    "a URL query": f"body={CANARY}&headers=1".encode(),
    "an HTTP request": f"POST / HTTP/1.1\r\nHost: {CANARY}\r\n\r\n".encode(),
    "a command for Redis": b"*1\r\n$8\r\nFLUSHALL\r\n",
    "single quotes": str({"body": CANARY}).encode(),
    "an extra comma": b'{"body": "' + CANARY.encode() + b'",}',
    "a comment": raw(message()) + b" // " + CANARY.encode(),
    "two messages in one": raw(message()) + raw(message()),
    "truncated JSON": b'{"body": "' + CANARY.encode(),
    "truncated by one character": raw(message())[:-1],
    "truncated in the middle": raw(message())[:500],
    "without its first character": raw(message())[1:],
    "null": b"null",
    "true": b"true",
    "NaN": b"NaN",
    "a string": f'"{CANARY}"'.encode(),
    "a message in a string": json.dumps(raw(message()).decode()).encode(),
    "a number": b"1e999",
    "a number of ten thousand digits": b"9" * 10_000,
    "a number of ten thousand digits in a header": _with(_UNUSED_VALUE, b"9" * 10_000),
    "a list": b"[]",
    "a message in a list": b"[" + raw(message()) + b"]",
    "an empty object": b"{}",
    "deep nesting, open": b"[" * 100_000,
    "deep nesting, closed": _DEEP.encode(),
    "deep nesting of objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep nesting in a header": _with(_UNUSED_VALUE, _DEEP.encode()),
    "a megabyte of spaces": b" " * 1_000_000,
    "only a body": {"body": CANARY},
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
    "without delivery info": without("properties", "delivery_info"),
    "delivery info that is a list": message(properties={"delivery_info": []}),
    "delivery info that is null": message(properties={"delivery_info": None}),
    "delivery info that is a string": message(properties={"delivery_info": CANARY}),
    "an id that is a number": message(headers={"id": 5}),
    "an id that is true": message(headers={"id": True}),
    "an id that is a list": message(headers={"id": [CANARY]}),
    "an id that is an object": message(headers={"id": {CANARY: 1}}),
    "an id that is null": message(headers={"id": None}),
    "an empty id": message(headers={"id": ""}),
    "a surrogate as id": message(headers={"id": "\ud800"}),
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
    "of bytes": _undecodable("\udcff\udcfe" + CANARY),
    "that is empty": (message(""), "InvalidTaskError"),
    "of NUL": _undecodable(b"\x00"),
    "of text": _undecodable(CANARY),
    "that is truncated": _undecodable(GOOD_BODY[:-5]),
    "that is repeated": _undecodable(GOOD_BODY + GOOD_BODY),
    "with an extra comma": _undecodable(f'[[["{CANARY}"],], {{}}, {{}}]'),
    "with a line break in a text": _undecodable(f'[[["{CANARY}\n"]], {{}}, {{}}]'),
    "with an invalid escape": _undecodable(f'[[["{CANARY}\\x"]], {{}}, {{}}]'),
    "in UTF-16": _undecodable(GOOD_BODY.encode("utf-16")),
    "in Latin-1": _undecodable(f'[[["é {CANARY}"]], {{}}, {{}}]'.encode("latin-1")),
    "with a byte order mark": _undecodable("\ufeff" + GOOD_BODY),
    "of deep nesting": _undecodable(_DEEP),
    "with a deeply nested text": _undecodable(
        f'[[{"[" * 5000}"{CANARY}"{"]" * 5000}], {{}}, {{}}]'
    ),
    "with a number of ten thousand digits": _undecodable(f"[[[{'9' * 10_000}]], {{}}, {{}}]"),
    "with an invalid date": _undecodable(
        f'[[{{"__type__": "datetime", "__value__": "{CANARY}"}}], {{}}, {{}}]'
    ),
    "with an invalid UUID": _undecodable(
        f'[[[{{"__type__": "uuid", "__value__": {{"hex": "{CANARY}"}}}}]], {{}}, {{}}]'
    ),
    "with invalid bytes": _undecodable(
        f'[[[{{"__type__": "base64", "__value__": ["{CANARY}"]}}]], {{}}, {{}}]'
    ),
    "with an invalid decimal": _undecodable(
        f'[[[{{"__type__": "decimal", "__value__": "{CANARY}"}}]], {{}}, {{}}]'
    ),
    "of null": _shapeless("null"),
    "of true": _shapeless("true"),
    "of a number": _shapeless("5"),
    "of a string": _shapeless(f'"{CANARY}"'),
    "of an object": _shapeless(f'{{"a": "{CANARY}"}}'),
    "of an empty list": _shapeless("[]"),
    "of two parts": _shapeless(f'[["{CANARY}"], {{}}]'),
    "of four parts": _shapeless(f'[["{CANARY}"], {{}}, {{}}, {{}}]'),
    "of strings": _shapeless(json.dumps([CANARY] * 3)),
    "with arguments that are a string": _shapeless('["args", {}, {}]'),
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
        "while the message was delivered",
    ),
    "a body encoding that is a list": (
        message(properties={"body_encoding": ["x"]}),
        "while the message was delivered",
    ),
    "not base64": (message(body=f"**{CANARY}**"), "while the message was delivered"),
    "not ASCII instead of base64": (message(body=f"é{CANARY}"), "while the message was delivered"),
    "truncated base64": (message(body="abc"), "while the message was delivered"),
    "base64 of base64": (message(encoded(GOOD_BODY)), "DecodeError"),
    "base64 without the body encoding": (without("properties", "body_encoding"), "DecodeError"),
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
    "an unknown content type": (message(content_type=CANARY), "ContentDisallowed"),
    "a content type that is a list": (message(content_type=["application/json"]), "TypeError"),
    "a content type with a charset": (
        message(content_type="application/json; charset=utf-8"),
        "ContentDisallowed",
    ),
    "without a content type": (message(content_type=None), "the body is not JSON"),
    "bytes of a generic type": (
        message(content_type="application/data", content_encoding="binary"),
        "the body is not JSON",
    ),
    "an unknown encoding, without a content type": (
        message(content_type=None, content_encoding=CANARY),
        "the body is not JSON",
    ),
    "bytes inflated by their encoding": (
        message(
            zlib.compress(bytes(100_000_000), 9),
            content_type="application/data",
            content_encoding="zlib_codec",
        ),
        "the body is not JSON",
    ),
    "bytes inflated by another encoding, without a content type": (
        message(bz2.compress(bytes(100_000_000)), content_type=None, content_encoding="BZ2"),
        "the body is not JSON",
    ),
}

_COMPRESSED: Final = {
    "unknown compression": (_compressed("x/y", b"x"), "the compression is not one of"),
    "compression that is a list": (_compressed(["x"], b"x"), "the compression is not one of"),
    "compression that is a number": (_compressed(1, b"x"), "the compression is not one of"),
    "compression that is true": (
        message(headers={"compression": True}),
        "the compression is not one of",
    ),
    "compression that only kombu supports": (
        _compressed("application/zstd", b"\x28\xb5\x2f\xfd"),
        "the compression is not one of",
    ),
    "compression of an uncompressed body": (
        _compressed("zlib", GOOD_BODY.encode()),
        "the body cannot be decompressed",
    ),
    "another compression than announced": (
        _compressed("lzma", zlib.compress(GOOD_BODY.encode())),
        "the body cannot be decompressed",
    ),
    "compressed and truncated": (
        _compressed("application/x-bz2", bz2.compress(GOOD_BODY.encode())[:-10]),
        "ValueError while the message was decoded",
    ),
    "an empty compressed body": (
        _compressed("zlib", b""),
        "TypeError while the message was decoded",
    ),
    "a compressed body that is not JSON": (
        _compressed("zlib", zlib.compress(CANARY.encode())),
        "DecodeError",
    ),
    "a bomb of zlib": (_compressed("zlib", zlib.compress(bytes(50_000_000), 9)), "decompresses to"),
    "a bomb of bzip2": (_compressed("bzip2", bz2.compress(bytes(50_000_000))), "decompresses to"),
    "a bomb of lzma": (_compressed("lzma", lzma.compress(bytes(50_000_000))), "decompresses to"),
    "several bombs in sequence": (
        _compressed("bzip2", bz2.compress(bytes(900_000)) * 50),
        "decompresses to",
    ),
}

_TASKS: Final = {
    "without an id": (without("headers", "id"), "the id is missing or invalid"),
    "without a task": (without("headers", "task"), "the message is not a task"),
    "without headers": (message() | {"headers": {}}, "the message is not a task"),
    "an empty task": (message(headers={"task": ""}), "the task is not registered"),
    "an unknown task": (message(headers={"task": f"{CANARY}.x"}), "the task is not registered"),
    "a task in capitals": (
        message(headers={"task": "SENTQ.SCORE"}),
        "the task is not registered",
    ),
    "a task with a space": (
        message(headers={"task": "sentq.score "}),
        "the task is not registered",
    ),
    "a task that is a surrogate": (
        message(headers={"task": "\ud800"}),
        "the task is not registered",
    ),
    **{
        f"Celery's own task {name}": (
            message(headers={"task": f"celery.{name}"}),
            "the task is not registered",
        )
        for name in (
            *("accumulate", "backend_cleanup", "chain", "chord", "chord_unlock", "chunks"),
            *("group", "map", "starmap"),
        )
    },
}

#: Messages that are not jobs, each with a part of the dead letter's reason.
NOT_JOBS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    **{f"a body {name}": case for name, case in _BODIES.items()},
    **_ENCODINGS,
    **_COMPRESSED,
    **_TASKS,
}
