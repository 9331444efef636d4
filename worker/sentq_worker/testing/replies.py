"""The replies of a fake Hub: scores, an error status, or a broken response of many kinds."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import Final, NamedTuple

__all__ = ["FakeReply", "ScriptStep", "hash_scores", "read_script", "reply"]

#: A slow reply sends a byte at this interval, and so many bytes.
_DRIP_INTERVAL_S: Final = 0.05
_DRIPS: Final = 2_000

#: The size of a decompressed bomb, and of a huge reply.
_BOMB_BYTES: Final = 64 * 1024 * 1024


class FakeReply(StrEnum):
    """The reply to one call: a status, or the name of what is wrong with it."""

    OK = "ok"
    BAD_REQUEST = "400"
    UNAUTHORISED = "401"
    PAYMENT_REQUIRED = "402"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    GONE = "410"
    TOO_LARGE = "413"
    UNPROCESSABLE = "422"
    #: With a number: `Retry-After`, in seconds.
    TOO_MANY_REQUESTS = "429"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502"
    #: With a number: the model is loading, `estimated_time` in seconds.
    UNAVAILABLE = "503"
    GATEWAY_TIMEOUT = "504"
    #: The reply of some endpoints: the labels without the list around them.
    FLAT = "flat"
    GARBAGE = "garbage"
    WRONG_LABELS = "wrong-labels"
    NAN = "nan"
    #: The probabilities sum to 2.
    WRONG_SUM = "wrong-sum"
    TRUNCATED = "truncated"
    #: A byte at a time, without end.
    SLOW_LORIS = "slow-loris"
    GZIP_BOMB = "gzip-bomb"
    #: A reply of 64 MiB.
    HUGE = "huge"
    #: To another name of this host.
    REDIRECT = "redirect"
    RESET = "reset"
    #: No reply, while the client waits.
    SILENCE = "silence"


class ScriptStep(NamedTuple):
    """A reply, with its number if it has one."""

    reply: FakeReply
    number: float | None = None


def read_script(words: str) -> list[ScriptStep]:
    """Read replies, each a `FakeReply` or `FakeReply:number`, separated by spaces.

    Raises:
        ValueError: A word is neither.
    """
    pairs = (word.partition(":") for word in words.split())
    return [
        ScriptStep(FakeReply(name), float(number) if number else None) for name, _, number in pairs
    ]


def hash_scores(text: str, labels: Sequence[str]) -> dict[str, float]:
    """Return probabilities that depend on the text alone and sum to 1."""
    digest = hashlib.blake2b(text.encode(), digest_size=2 * len(labels)).digest()
    weights = [1 + int.from_bytes(digest[2 * i : 2 * i + 2]) for i in range(len(labels))]
    return {label: weight / sum(weights) for label, weight in zip(labels, weights, strict=True)}


def reply(
    handler: BaseHTTPRequestHandler,
    step: ScriptStep,
    scores: Mapping[str, float],
    *,
    text: str = "",
    wait: Callable[[float], bool],
) -> None:
    """Reply to one call.

    Args:
        handler: The call, with its body read.
        step: The reply.
        scores: The correct scores.
        text: The text of the call. Error replies repeat it, and the token, as servers may.
        wait: Sleeps for a number of seconds; returns whether the server stops.
    """
    fault = _FAULTS.get(step.reply)
    if fault is not None:
        fault(handler, scores, wait)
    elif step.reply.isdigit():
        sent = f"{text} {handler.headers.get('Authorization')}"
        headers, body = _error(step, sent)
        _send(handler, int(step.reply), body, headers)
    else:
        _send(handler, 200, json.dumps(_scores_document(step.reply, scores)).encode())


def _scores_document(kind: FakeReply, scores: Mapping[str, float]) -> object:
    ordered = sorted(scores.items(), key=lambda pair: -pair[1])
    rows = [{"label": label, "score": score} for label, score in ordered]
    match kind:
        case FakeReply.FLAT:
            return rows
        case FakeReply.WRONG_LABELS:
            return [[{"label": f"other {row['label']}", "score": row["score"]} for row in rows]]
        case FakeReply.NAN:
            return [[{"label": row["label"], "score": math.nan} for row in rows]]
        case FakeReply.WRONG_SUM:
            return [[{"label": label, "score": 2 * score} for label, score in ordered]]
    return [rows]


def _error(step: ScriptStep, sent: str) -> tuple[dict[str, str], bytes]:
    body: dict[str, object] = {"error": f"rejected with {step.reply}: {sent}"}
    headers: dict[str, str] = {}
    if step.reply is FakeReply.TOO_MANY_REQUESTS and step.number is not None:
        headers["Retry-After"] = f"{step.number:g}"
    if step.reply is FakeReply.UNAVAILABLE and step.number is not None:
        body["estimated_time"] = step.number
    return headers, json.dumps(body).encode()


def _send(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


_Faulty = Callable[[BaseHTTPRequestHandler, Mapping[str, float], Callable[[float], bool]], None]


def _garbage(handler: BaseHTTPRequestHandler, _scores: object, _wait: object) -> None:
    _send(handler, 200, b"<html>all is well</html>", {"Content-Type": "text/html"})


def _truncated(handler: BaseHTTPRequestHandler, scores: Mapping[str, float], _wait: object) -> None:
    whole = json.dumps(_scores_document(FakeReply.OK, scores)).encode()
    _send(handler, 200, whole[: len(whole) // 2])


def _drip(handler: BaseHTTPRequestHandler, _scores: object, wait: Callable[[float], bool]) -> None:
    handler.close_connection = True
    handler.send_response(200)
    handler.send_header("Content-Length", str(_DRIPS))
    handler.end_headers()
    for _ in range(_DRIPS):
        handler.wfile.write(b" ")
        if wait(_DRIP_INTERVAL_S):
            return


def _bomb(handler: BaseHTTPRequestHandler, _scores: object, _wait: object) -> None:
    compressed = gzip.compress(bytes(_BOMB_BYTES), compresslevel=1)
    _send(handler, 200, compressed, {"Content-Encoding": "gzip"})


def _huge(handler: BaseHTTPRequestHandler, _scores: object, _wait: object) -> None:
    handler.close_connection = True
    handler.send_response(200)
    handler.end_headers()
    for _ in range(_BOMB_BYTES // 65536):
        handler.wfile.write(b" " * 65536)


def _redirect(handler: BaseHTTPRequestHandler, _scores: object, _wait: object) -> None:
    port = handler.connection.getsockname()[1]
    _send(handler, 307, b"", {"Location": f"http://localhost:{port}{handler.path}"})


def _reset(handler: BaseHTTPRequestHandler, _scores: object, _wait: object) -> None:
    handler.close_connection = True
    # With a linger time of zero, a close resets the connection.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def _silence(
    handler: BaseHTTPRequestHandler, _scores: object, wait: Callable[[float], bool]
) -> None:
    handler.close_connection = True
    wait(_DRIPS * _DRIP_INTERVAL_S)


_FAULTS: Final[dict[FakeReply, _Faulty]] = {
    FakeReply.GARBAGE: _garbage,
    FakeReply.TRUNCATED: _truncated,
    FakeReply.SLOW_LORIS: _drip,
    FakeReply.GZIP_BOMB: _bomb,
    FakeReply.HUGE: _huge,
    FakeReply.REDIRECT: _redirect,
    FakeReply.RESET: _reset,
    FakeReply.SILENCE: _silence,
}
