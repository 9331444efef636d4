"""What clients send to a gateway to harm it, and what they should get: the rows of a table in
docs/gateway.md."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from tests.support.gateway.raw import Reply, connect, exchange, head, read_reply

__all__ = [
    "ABUSES",
    "BODY_TIMEOUT_S",
    "BYTES",
    "ENDS",
    "LEFT_STREAMS",
    "STAYS",
    "STREAMS",
    "Abuse",
    "AbusedGateway",
    "rows",
]

#: The size of the largest bodies. By hand: `ABUSE_BYTES=10e9`.
BYTES: Final = int(float(os.environ.get("ABUSE_BYTES", "50e6")))

#: The settings of the gateway: seconds, so that slow bodies end soon.
BODY_TIMEOUT_S: Final = 1.0

_JSON: Final = "Content-Type: application/json"
_LINES: Final = "Content-Type: application/x-ndjson"
_GZIP: Final = "Content-Encoding: gzip"
_CHUNKED: Final = "Transfer-Encoding: chunked"

#: What becomes of a connection.
ENDS: Final = "ends"
STAYS: Final = "stays"

#: How many streams of events are idle at a time, and how many are left with a request behind them.
STREAMS: Final = 1000
LEFT_STREAMS: Final = 100

#: A part of a large body.
_PART_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class AbusedGateway:
    """A gateway, and what its clients have.

    Attributes:
        port: Where it listens.
        key: The header of a key that may submit and read.
        job: The path of a job that the key has sent, which does not end.
        other_job: The path of a job that another key has sent.
        other_batch: The path of a batch that another key has uploaded.
        wrong_keys: Headers with keys that are not valid.
    """

    port: int
    key: str
    job: str
    other_job: str
    other_batch: str
    wrong_keys: tuple[str, ...]

    def post(self, path: str, *headers: str, body: bytes = b"") -> bytes:
        """Return a request with the key."""
        return head("POST", path, self.key, *headers) + body

    def replies(self, requests: Iterable[bytes | Iterable[bytes]]) -> list[Reply]:
        """Send each request on a connection of its own; return the responses."""
        return [exchange(self.port, request) for request in requests]


@dataclass(frozen=True, slots=True)
class Abuse:
    """One row.

    Attributes:
        what: What a client does.
        response: What it gets, each time.
        connection: Whether its connection ends or stays.
        run: Does it, in one or several forms.
        is_slow: Whether that takes long, and costs no CPU.
    """

    what: str
    response: str
    connection: str
    run: Callable[[AbusedGateway], list[Reply]]
    is_slow: bool = False

    def row(self) -> str:
        """Return the row of the table."""
        return f"| {self.what} | {self.response} | {self.connection} |"


def rows(abuses: Iterable[Abuse]) -> list[str]:
    """Return the table."""
    header = ["| A client sends | Response | Connection |", "|---|---|---|"]
    return [*header, *(each.row() for each in abuses)]


# --- Bodies ----------------------------------------------------------------------------------


def _chunks(parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield b"%x\r\n" % len(part) + part + b"\r\n"
    yield b"0\r\n\r\n"


def _parts(part: bytes, *, size_bytes: int = BYTES) -> Iterator[bytes]:
    """Yield a part until there are so many bytes."""
    yield from repeat(part, -(-size_bytes // len(part)))


def _streamed(path: str, *headers: str, part: bytes) -> Callable[[AbusedGateway], list[Reply]]:
    def run(gateway: AbusedGateway) -> list[Reply]:
        def parts() -> Iterator[bytes]:
            yield gateway.post(path, *headers, _CHUNKED)
            yield from _chunks(_parts(part))

        return gateway.replies([parts()])

    return run


def _announced(gateway: AbusedGateway) -> list[Reply]:
    request = gateway.post("/v1/jobs", _JSON, f"Content-Length: {10**10}")
    awaited = gateway.post("/v1/jobs", _JSON, f"Content-Length: {10**10}", "Expect: 100-continue")
    return gateway.replies([request, awaited])


def _bomb(part: bytes) -> bytes:
    """Return what decompresses to so many bytes, or to ten times `max_body_bytes`."""
    packer = zlib.compressobj(level=9, wbits=31)
    size_bytes = min(BYTES, 1_000_000_000)
    packed = [packer.compress(each) for each in _parts(part, size_bytes=size_bytes)]
    return b"".join([*packed, packer.flush()])


def _bombs(path: str, kind: str, *parts: bytes) -> Callable[[AbusedGateway], list[Reply]]:
    """Return what sends bombs, each without its last byte: the response comes before the end."""

    def run(gateway: AbusedGateway) -> list[Reply]:
        bodies = [_bomb(part) for part in parts]
        return gateway.replies(
            gateway.post(path, kind, _GZIP, f"Content-Length: {len(body)}", body=body[:-1])
            for body in bodies
        )

    return run


def _bodies(path: str, *bodies: bytes, kind: str = _JSON) -> Callable[[AbusedGateway], list[Reply]]:
    def run(gateway: AbusedGateway) -> list[Reply]:
        return gateway.replies(
            gateway.post(path, kind, f"Content-Length: {len(body)}", body=body) for body in bodies
        )

    return run


_COSTLY: Final = (
    b'{"texts":[%s]}' % b",".join([b"1"] * 1_000_000),
    b'{"texts":[%s]}' % b",".join([b'""'] * 600_000),
)

_MANY_MEMBERS: Final = b"{%s}" % b",".join(b'"%d":1' % number for number in range(150_000))

_NOT_JSON: Final = (
    b"[" * 1_000_000,
    json.dumps({"texts": "x"}).encode("utf-16"),
    '{"texts": "caf\u00e9"}'.encode("latin-1"),
)


def _slow_body(path: str, kind: str, *, pauses: int) -> Callable[[AbusedGateway], list[Reply]]:
    """Return what sends a body byte by byte, and then no more of it."""

    def parts(gateway: AbusedGateway) -> Iterator[bytes]:
        yield gateway.post(path, kind, "Content-Length: 1000")
        for _ in range(pauses):
            time.sleep(BODY_TIMEOUT_S / 2)
            yield b" "

    return lambda gateway: gateway.replies([parts(gateway)])


def _endless(path: str, part: bytes) -> Callable[[AbusedGateway], list[Reply]]:
    """Return what sends, after the head of a chunked body, a part again and again."""

    def parts(gateway: AbusedGateway) -> Iterator[bytes]:
        yield gateway.post(path, _LINES, _CHUNKED)
        yield b'3\r\n"x"\r\n'
        yield from part.split(b"*")[:1]
        yield from _parts(part.split(b"*")[1], size_bytes=min(BYTES, 50_000_000))

    return lambda gateway: gateway.replies([parts(gateway)])


# --- Heads -----------------------------------------------------------------------------------


def _heads(*requests: bytes) -> Callable[[AbusedGateway], list[Reply]]:
    return lambda gateway: gateway.replies(requests)


def _framed(*framings: str) -> Callable[[AbusedGateway], list[Reply]]:
    def run(gateway: AbusedGateway) -> list[Reply]:
        return gateway.replies(
            gateway.post("/v1/jobs", _JSON, *framing.split("|"), body=b"5\r\n[1,2]\r\n0\r\n\r\n")
            for framing in framings
        )

    return run


def _chunk_sizes(*sizes: bytes) -> Callable[[AbusedGateway], list[Reply]]:
    def run(gateway: AbusedGateway) -> list[Reply]:
        return gateway.replies(
            gateway.post("/v1/jobs", _JSON, _CHUNKED, body=size + b"\r\nx\r\n0\r\n\r\n")
            for size in sizes
        )

    return run


def _slow_head(*parts: bytes, pause_s: float) -> Callable[[AbusedGateway], list[Reply]]:
    def slowly() -> Iterator[bytes]:
        yield parts[0]
        for part in parts[1:]:
            time.sleep(pause_s)
            yield part

    return lambda gateway: gateway.replies([slowly()])


def _between(gateway: AbusedGateway) -> list[Reply]:
    """Send a request, and after its response line breaks without end."""
    with connect(gateway.port) as connection:
        connection.sendall(head("GET", "/livez"))
        assert str(read_reply(connection)) == "200"
        for _ in range(40):
            try:
                connection.sendall(b"\r\n")
            except OSError:
                break
            time.sleep(0.5)
        return [read_reply(connection)]


def _pipelined(gateway: AbusedGateway) -> list[Reply]:
    start, received = b"HTTP/1.1 200 ", bytearray()
    with connect(gateway.port) as connection:
        connection.sendall(head("GET", "/livez") * 20)
        while received.count(start) < 20 and (part := connection.recv(65536)):
            received += part
    return [Reply(200, "", is_end=False)] * received.count(start)


def _too_many_pipelined(gateway: AbusedGateway) -> list[Reply]:
    with connect(gateway.port) as connection:
        connection.sendall(head("GET", "/v1/status", gateway.key) * 2000)
        return [read_reply(connection)]


def _with_key(*paths: str, method: str = "GET") -> Callable[[AbusedGateway], list[Reply]]:
    return lambda gateway: gateway.replies(head(method, path, gateway.key) for path in paths)


# --- Keys ------------------------------------------------------------------------------------


def _with_wrong_keys(gateway: AbusedGateway) -> list[Reply]:
    return gateway.replies(
        head("GET", "/v1/status", *([key] if key else [])) for key in gateway.wrong_keys
    )


def _each_operation(gateway: AbusedGateway, path: str, stream: str) -> list[Reply]:
    """Ask for what a path names, for what it streams, and cancel it."""
    operations = (("GET", path), ("GET", f"{path}/{stream}"), ("DELETE", path))
    return gateway.replies(head(method, each, gateway.key) for method, each in operations)


# --- Streams of events -----------------------------------------------------------------------


def _follow(gateway: AbusedGateway, *, count: int, behind: bytes, idle_s: float) -> list[Reply]:
    """Follow a job on so many connections, each with something behind the request; read the first
    event of each, be idle, and go."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(gateway.port)) for _ in range(count)]
        for connection in connections:
            connection.sendall(head("GET", f"{gateway.job}/events", gateway.key) + behind)
        replies = [_first_event(each) for each in connections]
        time.sleep(idle_s)
    return replies


def _first_event(connection: socket.socket) -> Reply:
    received = b""
    while b"event: status" not in received and (part := connection.recv(65536)):
        received += part
    status = int(received.split(b" ", 2)[1]) if b"event: status" in received else None
    return Reply(status, "", is_end=status is None)


_MALFORMED: Final = "400 `malformed-request`"
_INVALID_LINE: Final = "422 `invalid-line`"
_HEAD_TOO_LARGE: Final = "431 `head-too-large`"
_HEAD_TOO_SLOW: Final = "408 `head-too-slow`"
_BODY_TOO_SLOW: Final = "408 `body-too-slow`"
_PAGE_NOT_FOUND: Final = "404 `page-not-found`"

_CALLBACKS: Final = tuple(
    json.dumps({"texts": "x", "callback_url": url}).encode()
    for url in (
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "http://203.0.113.7/",
        "https://203.0.113.7:6379/",
    )
)

_SPACES: Final = b" " * _PART_BYTES
_TEXT_LINE: Final = b'"%s"\n' % (b"x" * 8000)

ABUSES: Final = (
    # Bodies that are large.
    Abuse(
        "10 GB as one body, in chunks",
        "413 `body-too-large`",
        ENDS,
        _streamed("/v1/score", _JSON, part=_SPACES),
    ),
    Abuse("`Content-Length` of 10 GB", "413 `body-too-large`", ENDS, _announced),
    Abuse(
        "10 GB as an upload, in one line",
        _INVALID_LINE,
        ENDS,
        _streamed("/v1/batches", _LINES, part=_SPACES),
    ),
    Abuse(
        "10 GB as an upload, in empty lines",
        _INVALID_LINE,
        ENDS,
        _streamed("/v1/batches", _LINES, part=b"\n" * _PART_BYTES),
    ),
    Abuse(
        "10 GB as an upload, in lines of 8 kB",
        "202",
        STAYS,
        _streamed("/v1/batches", _LINES, part=_TEXT_LINE * 32),
    ),
    Abuse(
        "gzip that becomes 1 GB", "413 `body-too-large`", ENDS, _bombs("/v1/score", _JSON, _SPACES)
    ),
    Abuse(
        "gzip that becomes 1 GB as an upload, in one line, in empty lines",
        _INVALID_LINE,
        ENDS,
        _bombs("/v1/batches", _LINES, _SPACES, b"\n" * _PART_BYTES),
    ),
    Abuse(
        "a million wrong texts in a body of 2 MB",
        "422 `too-many-texts`",
        STAYS,
        _bodies("/v1/jobs", *_COSTLY),
    ),
    Abuse(
        "150,000 unknown members in a body",
        "422 `invalid-request`",
        STAYS,
        _bodies("/v1/jobs", _MANY_MEMBERS),
    ),
    Abuse(
        "a million brackets; UTF-16; Latin-1", _MALFORMED, STAYS, _bodies("/v1/jobs", *_NOT_JSON)
    ),
    Abuse(
        "Latin-1, UTF-16 or binary data as lines",
        _INVALID_LINE,
        STAYS,
        _bodies(
            "/v1/batches",
            '"caf\u00e9"\n'.encode("latin-1"),
            '"x"\n'.encode("utf-16"),
            gzip.compress(b'"x"\n'),
            kind=_LINES,
        ),
    ),
    # Bodies that are slow.
    Abuse(
        "a body of which nothing comes for `body_timeout_s`",
        _BODY_TOO_SLOW,
        ENDS,
        _slow_body("/v1/jobs", _JSON, pauses=0),
        is_slow=True,
    ),
    Abuse(
        "a body that comes byte by byte, for three times as long",
        _BODY_TOO_SLOW,
        ENDS,
        _slow_body("/v1/jobs", _JSON, pauses=20),
        is_slow=True,
    ),
    Abuse(
        "an upload that comes byte by byte, as soon as no more comes",
        _BODY_TOO_SLOW,
        ENDS,
        _slow_body("/v1/batches", _LINES, pauses=20),
        is_slow=True,
    ),
    # What surrounds bodies.
    Abuse(
        "trailers without end",
        _HEAD_TOO_LARGE,
        ENDS,
        _endless("/v1/batches", b"0\r\n*X-More: " + b"x" * 1000 + b"\r\n"),
    ),
    Abuse(
        "a trailer without end",
        _HEAD_TOO_LARGE,
        ENDS,
        _endless("/v1/batches", b"0\r\nX-More: *" + b"x" * 1000),
    ),
    Abuse(
        "an extension of a chunk without end",
        _HEAD_TOO_LARGE,
        ENDS,
        _endless("/v1/batches", b"1;x=*" + b"x" * 1000),
    ),
    Abuse(
        "`Content-Length` and `Transfer-Encoding`; two lengths; `-1`, `+5`, `5, 5`, `5x`, `10^20`",
        _MALFORMED,
        ENDS,
        _framed(
            f"Content-Length: 5|{_CHUNKED}",
            f"{_CHUNKED}|Content-Length: 5",
            "Content-Length: 5|Content-Length: 6",
            "Content-Length: -1",
            "Content-Length: +5",
            "Content-Length: 5, 5",
            "Content-Length: 5x",
            f"Content-Length: {10**20}",
        ),
    ),
    Abuse(
        "`Transfer-Encoding` other than `chunked`; wrong sizes of chunks",
        _MALFORMED,
        ENDS,
        lambda gateway: [
            *_framed("Transfer-Encoding: gzip", "Transfer-Encoding: chunked, gzip")(gateway),
            *_chunk_sizes(b"x", b"-1", b"+1", b"f" * 17)(gateway),
        ],
    ),
    # Heads.
    Abuse(
        "a header of 1 MB; 20,000 headers; a path of 1 MB",
        _HEAD_TOO_LARGE,
        ENDS,
        _heads(
            head("GET", "/livez", f"X-Long: {'x' * 1_000_000}"),
            head("GET", "/livez", *(f"X-{number}: x" for number in range(20_000))),
            head("GET", "/" + "x" * 1_000_000),
        ),
    ),
    Abuse(
        "nothing; a head that does not end; headers one a second",
        _HEAD_TOO_SLOW,
        ENDS,
        lambda gateway: [
            *_slow_head(b"", pause_s=0)(gateway),
            *_slow_head(b"GET /livez HTTP/1.1\r\nHo", pause_s=0)(gateway),
            *_slow_head(b"GET /livez HTTP/1.1\r\n", *[b"X: y\r\n"] * 30, pause_s=1)(gateway),
        ],
        is_slow=True,
    ),
    Abuse(
        "line breaks after a response, one after the other",
        _HEAD_TOO_SLOW,
        ENDS,
        _between,
        is_slow=True,
    ),
    Abuse(
        "NUL, line breaks or spaces where a header may not have them; lines that end in LF",
        _MALFORMED,
        ENDS,
        _heads(
            head("GET", "/livez", "X-A: a\0b"),
            head("GET", "/livez", "X-A: a\rb"),
            head("GET", "/livez", "X A: b"),
            head("GET", "/livez", "X-A : b"),
            head("GET", "/livez", "X-A: b", " c"),
            head("GET", "/livez", "no colon"),
            b"GET /livez HTTP/1.1\nHost: localhost\n\n",
        ),
    ),
    Abuse(
        "no `Host`; two; an unknown method; another version; TLS; HTTP/2",
        _MALFORMED,
        ENDS,
        _heads(
            b"GET /livez HTTP/1.1\r\n\r\n",
            head("GET", "/livez", "Host: a", "Host: b"),
            head("BREW", "/livez"),
            head("get", "/livez"),
            head("GET", "/livez", version="HTTP/9.9"),
            b"GET /livez\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ),
    ),
    Abuse(
        "`Upgrade` with a body",
        _MALFORMED,
        ENDS,
        _heads(
            head(
                "POST",
                "/v1/jobs",
                _JSON,
                "Connection: Upgrade",
                "Upgrade: h2c",
                "Content-Length: 18",
            )
            + head("GET", "/livez")[:18]
        ),
    ),
    Abuse("20 requests at once", "200", STAYS, _pipelined),
    Abuse("2,000 requests at once", "none", ENDS, _too_many_pipelined),
    Abuse("HTTP/1.0", "200", ENDS, _heads(head("GET", "/livez", version="HTTP/1.0"))),
    # Paths.
    Abuse(
        "`..`, `%2f`, `%00`, `%ff` or `//` in a path",
        _PAGE_NOT_FOUND,
        STAYS,
        _with_key(
            "/v1/../v1/status",
            "/v1/jobs/..%2f..%2fstatus",
            "/v1/jobs/%2e%2e/status",
            "/v1/status%00",
            "/v1/status%ff",
            "//v1/status",
            "/console/static/../../settings.py",
            "/console/static/..%2f..%2fsettings.py",
        ),
    ),
    Abuse(
        "NUL or another text as the id of a job",
        "404 `unknown-job`",
        STAYS,
        _with_key("/v1/jobs/%00", "/v1/jobs/..", "/v1/jobs/%F0%9F%98%80", "/v1/jobs/" + "x" * 9000),
    ),
    Abuse(
        "another method than a path has",
        "405 `wrong-method`",
        STAYS,
        lambda gateway: [
            *_with_key("/v1/status", method="TRACE")(gateway),
            *_with_key("/v1/status", method="PUT")(gateway),
            *_with_key("/v1/score", method="DELETE")(gateway),
        ],
    ),
    # Keys.
    Abuse(
        "no key; a revoked one; a wrong one with a known id; other schemes; 60 kB",
        "401 `unauthorized`",
        STAYS,
        _with_wrong_keys,
    ),
    Abuse(
        "the id of a job of another key",
        "404 `unknown-job`",
        STAYS,
        lambda gateway: _each_operation(gateway, gateway.other_job, "events"),
    ),
    Abuse(
        "the id of a batch of another key",
        "404 `unknown-batch`",
        STAYS,
        lambda gateway: _each_operation(gateway, gateway.other_batch, "results"),
    ),
    Abuse(
        "a `callback_url` of this machine, a private network, or a cloud's metadata",
        "422 `webhook-refused`",
        STAYS,
        _bodies("/v1/jobs", *_CALLBACKS),
    ),
    # Streams of events.
    Abuse(
        "1,000 requests for events of a job that does not end",
        "200",
        STAYS,
        lambda gateway: _follow(gateway, count=STREAMS, behind=b"", idle_s=3),
        is_slow=True,
    ),
    Abuse(
        "100 such with another request behind each, and is gone",
        "200",
        STAYS,
        lambda gateway: _follow(
            gateway, count=LEFT_STREAMS, behind=head("GET", "/livez"), idle_s=0
        ),
    ),
)
