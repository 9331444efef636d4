"""Messages that are none: each becomes a dead letter with a reason, and the worker goes on.

Whatever is in a queue was put there by somebody who could: by another program's mistake, by a
version of Celery that nobody expected, or on purpose. One such message must cost itself only.
"""

from __future__ import annotations

import base64
import bz2
import json
import lzma
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.celery_site import NAME, Site, run_site
from tests.processes import eventually

from sentq import errors

#: Stands in every body, and must stand in no log line.
CANARY: Final = "CANARYb2d8"

WAIT_S: Final = 10

TEXTS: Final = json.dumps([[[f"{CANARY} text"]], {}, {}])

DEEP: Final = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One worker for all of it: it must not notice."""
    with run_site(tmp_path_factory.mktemp("site")) as site:
        yield site
        assert CANARY not in site.worker.log
        assert site.worker.log.count(" ready.") == 1


@pytest.fixture
def site(_site: Site) -> Site:
    """The worker, without what a failed test may have left to it."""
    _site.redis.delete("sentq", "unacked", "unacked_index", "sentq.dead")
    return _site


def message(body: str = TEXTS, /, **changes: Any) -> dict[str, Any]:
    """A job's message as Celery sends it, but for some changes.

    `headers` and `properties` are changed one by one, everything else as a whole.
    """
    job_id = str(uuid.uuid4())
    properties = {
        "correlation_id": job_id,
        "reply_to": str(uuid.uuid4()),
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "sentq"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    headers: dict[str, Any] = {
        "lang": "py",
        "task": "sentq.score",
        "id": job_id,
        "root_id": job_id,
        "parent_id": None,
        "group": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": CANARY,
        "kwargsrepr": "{}",
        "ignore_result": False,
        "stamped_headers": None,
        "stamps": {},
    }
    whole: dict[str, Any] = {
        "body": base64.b64encode(body.encode("utf-8", "surrogateescape")).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers | changes.pop("headers", {}),
        "properties": properties | changes.pop("properties", {}),
    }
    return whole | {name.replace("_", "-"): value for name, value in changes.items()}


def without(part: str, name: str) -> dict[str, Any]:
    """A message that lacks something."""
    changed = message()
    del changed[part][name]
    return changed


#: What is in the queue, and the reason given.
NO_CELERY_MESSAGE: Final[dict[str, Any]] = {
    "nothing": b"",
    "bytes": b"\xff\xfe\x00" + CANARY.encode(),
    "text": CANARY.encode(),
    "cut JSON": b'{"body": "' + CANARY.encode(),
    "null": b"null",
    "a string": f'"{CANARY}"'.encode(),
    "a number": b"1e999",
    "a list": b"[]",
    "deep nesting, open": b"[" * 100_000,
    "deep nesting, closed": DEEP.encode(),
    "deep nesting in a header": json.dumps(message()).replace('"py"', DEEP).encode(),
    "a body alone": {"body": CANARY},
    "a body that is a number": message(body=1),
    "a body that is an object": message(body={CANARY: 1}),
    "headers that are a list": message() | {"headers": []},
    "headers that are null": message() | {"headers": None},
    "properties that are a list": message() | {"properties": []},
    "no delivery info": without("properties", "delivery_info"),
    "delivery info that is a list": message(properties={"delivery_info": []}),
    "an id that is a number": message(headers={"id": 5}),
    "an id that is a list": message(headers={"id": [CANARY]}),
    "an id that is null": message(headers={"id": None}),
    "a task that is a number": message(headers={"task": 5}),
    "a task that is null": message(headers={"task": None}),
}

NO_JOB: Final[dict[str, tuple[Any, str]]] = {
    "no id": (without("headers", "id"), "KeyError"),
    "an empty id": (message(headers={"id": ""}), "it is not a Celery message"),
    "half a character as id": (message(headers={"id": "\ud800"}), "it is not a Celery message"),
    "an unknown body encoding": (
        message(properties={"body_encoding": "unknown"}),
        "as it was delivered",
    ),
    "a body encoding that is a list": (
        message(properties={"body_encoding": ["x"]}),
        "as it was delivered",
    ),
    "no task": (without("headers", "task"), "it is not a task"),
    "an unknown task": (message(headers={"task": f"{CANARY}.x"}), "its task is not registered"),
    "not base64": (message(body=f"**{CANARY}**"), "as it was delivered"),
    "base64 cut short": (message(body="abc"), "as it was delivered"),
    "base64 not announced": (without("properties", "body_encoding"), "DecodeError"),
    "a body of bytes": (message("\udcff\udcfe" + CANARY), "DecodeError"),
    "a body cut short": (message(TEXTS[:-5]), "DecodeError"),
    "a deep body": (message(DEEP), "DecodeError"),
    "a deep text": (message(f'[[{"[" * 5000}"{CANARY}"{"]" * 5000}], {{}}, {{}}]'), "DecodeError"),
    "a body that says null": (message("null"), "InvalidTaskError"),
    "a body that says an object": (message(f'{{"a": "{CANARY}"}}'), "InvalidTaskError"),
    "a body of two": (message(f'[["{CANARY}"], {{}}]'), "InvalidTaskError"),
    "a body of four": (message(f'[["{CANARY}"], {{}}, {{}}, {{}}]'), "InvalidTaskError"),
    "a body of strings": (message(json.dumps([CANARY] * 3)), "InvalidTaskError"),
    "arguments in an object": (message(f'[{{"{CANARY}": 1}}, {{}}, {{}}]'), "InvalidTaskError"),
    "keywords in a list": (message(f'[[["{CANARY}"]], [], {{}}]'), "InvalidTaskError"),
    "options in a list": (message(f'[[["{CANARY}"]], {{}}, []]'), "InvalidTaskError"),
    "a chain of strings": (message(f'[[["x"]], {{}}, {{"chain": ["{CANARY}"]}}]'), "ValueError"),
    "a date that is none": (
        message(f'[[{{"__type__": "datetime", "__value__": "{CANARY}"}}], {{}}, {{}}]'),
        "DecodeError",
    ),
    "a pickle": (message(content_type="application/x-python-serialize"), "ContentDisallowed"),
    "plain text": (message(content_type="text/plain"), "ContentDisallowed"),
    "no type": (message(content_type=None), "InvalidTaskError"),
    "an encoding that is a number": (message(content_encoding=5), "AttributeError"),
    "unknown compression": (message(headers={"compression": "x/y"}), "its compression is none of"),
    "compression that is a list": (
        message(headers={"compression": ["x"]}),
        "its compression is none of",
    ),
    "compression that it has not": (
        message(headers={"compression": "zlib"}),
        "its body cannot be inflated",
    ),
    "an eta that is text": (message(headers={"eta": CANARY}), "its eta is no date"),
    "an eta that is a number": (message(headers={"eta": 1e12}), "its eta is no date"),
    "an eta that is a list": (message(headers={"eta": [CANARY]}), "its eta is no date"),
    "an eta in the year 9999": (
        message(headers={"eta": "9999-12-31T23:59:59.999999+00:00"}),
        "its eta is out of reach",
    ),
    "an eta after the year 9999": (
        message(headers={"eta": "9999-12-31T23:59:59.999999-12:00"}),
        "its eta is out of reach",
    ),
    "an eta before the year 1": (
        message(headers={"eta": "0001-01-01T00:00:00+14:00"}),
        "its eta is out of reach",
    ),
    "an eta of another century, without a zone": (
        message(headers={"eta": "2150-01-01T00:00:00"}),
        "its eta is out of reach",
    ),
    "expires that is text": (message(headers={"expires": CANARY}), "InvalidTaskError"),
    "expires that is a number": (message(headers={"expires": 1e12}), "InvalidTaskError"),
    "retries that are text": (message(headers={"retries": CANARY}), "its count of retries"),
    "retries that are negative": (message(headers={"retries": -1}), "its count of retries"),
    "a time limit that is text": (message(headers={"timelimit": "x"}), "ValueError"),
    "stamps that are a number": (message(headers={"stamped_headers": 5}), "TypeError"),
    "a number that is too large, and no task": (
        message("null", headers={"x": 10**30}),
        "InvalidTaskError",
    ),
    "half a character, and no task": (message("null", headers={"x": "\ud800"}), "InvalidTask"),
}

DEAD: Final = {name: (raw, "it is not a Celery message") for name, raw in NO_CELERY_MESSAGE.items()}


def _put(site: Site, raw: Any) -> None:
    site.redis.lpush("sentq", raw if isinstance(raw, bytes) else json.dumps(raw))


def _goes_on(site: Site) -> None:
    """A good job that came afterwards is answered, and nothing is left behind."""
    assert site.score("still alive?").get(timeout=WAIT_S)["outcomes"]
    eventually(site.is_settled, what="everything acknowledged")


@pytest.mark.parametrize(("raw", "reason"), (DEAD | NO_JOB).values(), ids=DEAD | NO_JOB)
def test_it_becomes_a_dead_letter(site: Site, raw: Any, reason: str) -> None:
    _put(site, raw)
    _goes_on(site)
    letter, second = site.pop_letter(), site.pop_letter()
    assert letter is not None
    assert reason in letter.reason
    assert letter.message or raw == b""
    assert (letter.queue, letter.worker, letter.deliveries) == ("sentq", NAME, 1)
    assert second is None
    assert CANARY not in letter.reason


@pytest.mark.parametrize(
    "changed",
    [
        message("null"),
        message(content_type="application/x-python-serialize"),
        message(headers={"eta": "9999-12-31T23:59:59+00:00"}),
        message(body="not base64"),
    ],
    ids=["no body", "a pickle", "an eta out of reach", "not base64"],
)
def test_whoever_waits_for_it_is_told(site: Site, changed: dict[str, Any]) -> None:
    _put(site, changed)
    _goes_on(site)
    site.pop_letter()
    job = site.stock.AsyncResult(changed["headers"]["id"])
    assert job.status == "FAILURE"
    with pytest.raises(errors.InvalidInput, match="refused"):
        job.get(timeout=WAIT_S)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        (message("[[], {}, {}]"), errors.InvalidInput),
        (message("[[[]], {}, {}]"), errors.EmptyJob),
        (message(f'[[["a"], ["{CANARY}"]], {{}}, {{}}]'), errors.InvalidInput),
        (message(f'[[["a"]], {{"{CANARY}": 1}}, {{}}]'), errors.InvalidInput),
        (message("[[5], {}, {}]"), errors.InvalidInput),
        (message(f'[[{{"{CANARY}": 1}}], {{}}, {{}}]'), errors.InvalidInput),
        (message(json.dumps([[[CANARY] * 257], {}, {}])), errors.TooManyTexts),
        (message(json.dumps([[[CANARY * 1_000_000]], {}, {}])), errors.MessageTooLarge),
    ],
    ids=[
        *("no argument", "no text", "two arguments", "an unknown option", "a number", "an object"),
        *("too many texts", "a huge message"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"retries": 1}], ids=["plain", "celery's own path"])
def test_a_job_that_breaks_the_contract_ends_in_its_error(
    site: Site, changed: dict[str, Any], headers: dict[str, Any], error: type[Exception]
) -> None:
    changed |= {"headers": changed["headers"] | headers | {"id": (job_id := str(uuid.uuid4()))}}
    _put(site, changed)
    _goes_on(site)
    with pytest.raises(error) as raised:
        site.stock.AsyncResult(job_id).get(timeout=WAIT_S)
    assert CANARY not in str(raised.value)
    assert site.pop_letter() is None


@pytest.mark.parametrize(
    "changed",
    [
        message('[[["NUL \\u0000 in it"]], {}, {}]'),
        message('[[["half \\ud800 a character"]], {}, {}]'),
        message("[[[NaN, null, 1, {}]], {}, {}]"),
        message('[[["x"]], {}, null]'),
        message('[[["x"]], {}, {"chord": "x"}]'),
        without("properties", "delivery_tag"),
        message(content_encoding="nothing"),
        message(headers={"id": "a\nb"}),
        message(headers={"id": "x" * 100_000}),
        message(headers={"root_id": ["x"], "parent_id": {}, "origin": 5, "argsrepr": ["x"]}),
        message(headers={"group": 5, "group_index": "x"}),
        message(headers={"stamped_headers": ["x"], "stamps": ["x"]}),
        message(headers={"timelimit": ["a", "b"]}),
        message(headers={"expires": "9999-12-31T23:59:59+00:00"}),
        message(headers={"root_id": "\ud800", "shadow": "\ud800", "retries": 1}),
        message(properties={"priority": "x", "reply_to": ["x"], "correlation_id": {}}),
    ],
    ids=[
        *("NUL", "half a character", "no texts in a list", "options that are null"),
        *("a chord that is text", "no delivery tag", "an unknown encoding"),
        *("a line break in its id", "a long id", "wrong types of what is only passed on"),
        *("a group that is a number", "stamps that are a list", "time limits that are text"),
        *("expiry in the year 9999", "half a character elsewhere", "wrong properties"),
    ],
)
def test_what_is_only_odd_is_scored(site: Site, changed: dict[str, Any]) -> None:
    _put(site, changed)
    _goes_on(site)
    outcome = site.stock.AsyncResult(changed["headers"]["id"]).get(timeout=WAIT_S)
    assert outcome["outcomes"]
    assert site.pop_letter() is None


BLOCK: Final = bytes(1024 * 1024)
BLOCKS: Final = 160


HIGH_WATER: Final = Path("/proc/self/clear_refs")


def _most_memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def _zlib_bomb() -> bytes:
    packer = zlib.compressobj(9)
    parts = [packer.compress(BLOCK) for _ in range(BLOCKS)]
    return b"".join((*parts, packer.flush()))


@pytest.mark.parametrize(
    ("compression", "bomb"),
    [
        ("application/x-gzip", _zlib_bomb),
        ("application/x-bz2", lambda: bz2.compress(BLOCK) * BLOCKS),
        ("application/x-lzma", lambda: lzma.compress(BLOCK) * BLOCKS),
    ],
    ids=["zlib", "bzip2", "lzma"],
)
def test_a_decompression_bomb_is_not_inflated(site: Site, compression: str, bomb: Any) -> None:
    changed = message(headers={"compression": compression})
    changed["body"] = base64.b64encode(bomb()).decode()
    if not HIGH_WATER.exists():
        pytest.skip("only Linux tells the most memory that a process had since it was asked to")
    pid = site.worker.process.pid
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before_kb = _most_memory_kb(pid)
    _put(site, changed)
    _goes_on(site)
    site.pop_letter()
    assert site.stock.AsyncResult(changed["headers"]["id"]).status in {"FAILURE", "PENDING"}
    assert _most_memory_kb(pid) - before_kb < 64 * 1024
