"""The scripts and commands of the kit's Redis, beside those of a real one.

Each case runs the same commands on both, one after the other, and compares each reply and all keys
that are left. Hypothesis generates further cases.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentq.connection.blocking import perform
from sentq.testing.memory.commands import execute_command
from sentq.testing.memory.database import MemoryDatabase
from sentq.testing.memory.scripts import SCRIPTS, run_script
from sentq.wire.batches import BatchPlace, batch_document, packed_ids
from sentq.wire.documents import scheduled_document
from sentq.wire.functions import FUNCTIONS, GATEWAY_NAMES
from sentq.wire.ids import new_job_ids
from sentq.wire.steps import Command, ScriptCall
from tests.support.processes import RedisProcess

#: Larger scores are times in Unix seconds.
_A_TIME_S: Final = 1e9

#: How far the two clocks of a comparison may be apart, in seconds.
_CLOCKS_S: Final = 2

PENDING, STARTED, SUCCESS, FAILURE, REVOKED = (
    b'{"status": "%s", "result": null}' % status
    for status in (b"PENDING", b"STARTED", b"SUCCESS", b"FAILURE", b"REVOKED")
)
SCHEDULED = scheduled_document(int((time.time() + 1000) * 1000))


class BothServers:
    """A real Redis and that of the kit, which are given the same commands."""

    def __init__(self, real: redis.Redis) -> None:
        self._real = real
        self._real.flushdb()
        self._database = MemoryDatabase()

    def run(self, *command: object) -> Any:
        """Run a command on both; return the reply."""
        return self._compared(command)

    def call(self, name: str, keys: Sequence[str], *arguments: object) -> Any:
        """Run a script on both; return the reply."""
        return self._compared(ScriptCall(FUNCTIONS[name], keys, arguments))

    def append(self, key: str, number: int, fields: dict[bytes, bytes]) -> None:
        """Append an entry with the id of a number to a stream of both."""
        entries = self._database.streams.by_key.setdefault(key.encode(), {})
        entries[number, 0] = fields
        self._real.xadd(key, fields, id=f"{number}-0")  # type: ignore[arg-type]

    def _compared(self, request: Command | ScriptCall) -> Any:
        self._database.drop_expired()
        if isinstance(request, ScriptCall):
            ours = run_script(self._database, request)
        else:
            ours = execute_command(self._database, request)
        theirs = perform(self._real, request)
        assert ours == theirs, request
        return ours

    def compare_keys(self) -> None:
        """Compare all keys: their values, and how long they are kept."""
        ours = self._database.dump()
        theirs = {key: _content(self._real, key) for key in self._real.scan_iter()}
        assert _values(ours) == _values(theirs)
        for key, (_, kept_s) in ours.items():
            if kept_s is None:
                assert theirs[key][1] is None, key
            else:
                assert kept_s == pytest.approx(theirs[key][1], abs=_CLOCKS_S), key


def _content(real: Any, key: bytes) -> tuple[Any, int | None]:
    kind = real.type(key)
    readers = {
        b"string": real.get,
        b"list": lambda name: real.lrange(name, 0, -1),
        b"hash": real.hgetall,
        b"zset": lambda name: dict(real.zrange(name, 0, -1, withscores=True)),
        b"stream": lambda name: [fields for _, fields in real.xrange(name)],
    }
    ttl_s = real.ttl(key)
    return readers[kind](key), None if ttl_s < 0 else ttl_s


def _values(content: dict[bytes, tuple[Any, int | None]]) -> dict[bytes, object]:
    return {key: _comparable(value) for key, (value, _) in content.items()}


def _comparable(value: Any) -> object:
    if isinstance(value, dict) and all(isinstance(each, tuple) for each in value):
        return list(value.values())  # A stream: ids tell the time.
    if isinstance(value, dict) and all(isinstance(each, bytes) for each in value.values()):
        # Times in milliseconds.
        return {name: b"" if name.endswith(b"_ms") else each for name, each in value.items()}
    if isinstance(value, dict) and all(isinstance(each, float) for each in value.values()):
        # Most scores are the time.
        return {name: min(score, _A_TIME_S) for name, score in value.items()}
    return value if isinstance(value, bytes | dict) else list(value)


@pytest.fixture
def both(redis_server: RedisProcess) -> Iterable[BothServers]:
    """Both servers, without keys."""
    with redis_server.client() as real:
        yield BothServers(real)


def test_the_kit_has_every_script_that_clients_run() -> None:
    # It has no deliverer of webhooks, and no gateway.
    others = {"take_webhooks", "settle_webhook", "retry_webhook", *GATEWAY_NAMES}
    assert SCRIPTS.keys() == FUNCTIONS.keys() - others


def test_jobs_are_pushed(both: BothServers) -> None:
    both.call("push_jobs", ["sentq", "sent"], 60, PENDING, b"first", b"second")
    both.call("push_jobs", ["sentq", "sent"], 60, b"not written again", b"third")
    assert both.run("LLEN", "sentq") == 3
    assert both.run("LINDEX", "sentq", -1) == b"first"
    both.compare_keys()
    assert both.run("GETRANGE", "sent", 2, 7) == b"status"
    assert both.run("DEL", "sent", "absent") == 1
    assert both.run("SET", "sent", "x", "EX", 60, "NX") is True
    assert both.run("SET", "sent", "y", "EX", 60, "NX") is None
    assert both.run("MGET", "sent", "absent") == [b"x", None]
    both.compare_keys()


LISTS = ["sentq\x06\x163", "sentq\x06\x166", "sentq\x06\x169"]
NAMES = st.sampled_from(["key-a", "key-b", "key-c"])
DIGESTS = st.sampled_from(["aa11", "bb22", "aa11|bb22", "aa11 cc33", "dd44|aa11 bb22"])
JOBS = st.lists(st.tuples(NAMES, DIGESTS, st.binary(max_size=30)), min_size=1, max_size=4)


def _push(both: BothServers, number: int, jobs: Any, *, most: int, keyed: bool) -> None:
    names, digests, messages = zip(*jobs, strict=True)
    ids = [f"id-{number}-{place}" for place in range(len(jobs))]
    conditions = [most, -1, len(LISTS), len(jobs) if keyed else 0]
    both.call(
        "push_jobs_with_conditions",
        ["sentq", f"sent-{number}", *LISTS, *(names if keyed else ())],
        *[60, PENDING, *conditions, *((*ids, *digests) if keyed else ()), *messages],
    )


@pytest.mark.redis
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_keys_and_limits_decide_alike(both: BothServers, data: st.DataObject) -> None:
    both.__init__(both._real)  # type: ignore[misc]  # an example begins without keys
    for number in range(data.draw(st.integers(1, 6))):
        match data.draw(st.sampled_from(["push", "push keyed", "reserve", "release", "keep"])):
            case "push":
                _push(
                    both, number, data.draw(JOBS), most=data.draw(st.integers(-1, 6)), keyed=False
                )
            case "push keyed":
                _push(both, number, data.draw(JOBS), most=data.draw(st.integers(-1, 6)), keyed=True)
            case "keep":
                both.run("SET", data.draw(NAMES), "id-kept aa11", "EX", 60)
            case action:
                key, job_id = data.draw(NAMES), data.draw(st.sampled_from(["id-x", "id-y"]))
                lasts = [30] if action == "reserve" else []
                both.call(f"{action}_key", [key], job_id, data.draw(DIGESTS), *lasts)
    both.compare_keys()


def test_a_record_without_digests_has_the_same_texts(both: BothServers) -> None:
    both.run("SET", "key", "id-old", "EX", 60)
    assert both.call("reserve_key", ["key"], "id-new", "aa11", 30) == [b"sent", b"id-old"]


@pytest.mark.parametrize("arguments", [("0", 60, 9999), ("7-0", 60, 9999), ("0", 60, 90)])
def test_codes_of_dead_letters_are_read_alike(
    both: BothServers, arguments: tuple[str, int, int]
) -> None:
    for number in range(1, 50):
        both.append("dead", number, {b"code": b"invalid", b"message": b"x"})
    assert both.call("read_dead_letter_codes", ["dead"], *arguments)


@pytest.mark.parametrize(("least", "most"), [("-inf", "+inf"), ("(2", "+inf"), ("2", "(4")])
def test_members_are_counted_alike(both: BothServers, least: str, most: str) -> None:
    both.run("ZADD", "set", 1, "a", 2, "b", 3, "c", 4, "d")
    assert both.run("ZCOUNT", "set", least, most)


#: By the name of the state. One names a time, which differs from process to process.
STATES: Final = {
    "absent": None,
    "pending": PENDING,
    "scheduled": SCHEDULED,
    "started": STARTED,
    "success": SUCCESS,
    "failure": FAILURE,
    "revoked": REVOKED,
    "foreign": b"foreign",
    "unknown": b'{"status": "X"}',
}


@pytest.mark.parametrize("document", STATES.values(), ids=STATES)
def test_a_document_is_replaced_in_the_same_states(
    both: BothServers, document: bytes | None
) -> None:
    for name, key in [("cancel_job", "own"), ("cancel_job", "sent"), ("requeue_one_result", "own")]:
        if document is not None:
            both.run("SET", key, document, "EX", 600)
        for _ in range(2):
            if name == "cancel_job":
                keys = ["own", "sent", "cancelled", "batches"]
                both.call(name, keys, REVOKED, 60, "the id", "sentq-batch-")
            else:
                both.call(name, ["own"], PENDING, 60)
        both.compare_keys()
        both.run("DEL", "own", "sent", "cancelled")


# --- Batches ----------------------------------------------------------------------------------

BATCH_ID = "01a00000-0000-7000-8000-0000000000ba"
BATCH = f"sentq-batch-{BATCH_ID}"
IDS = new_job_ids(8)
DOCUMENTS = [f"celery-task-meta-{job_id}" for job_id in IDS]
FIELDS = ("total", "done", "failed", "cancelled", "closed", "callback", "callback_state")


def _push_to_batch(both: BothServers, place: int, count: int, most: int, *, closes: bool) -> None:
    place_of_first = BatchPlace(BATCH_ID, place)
    both.call(
        "push_batch_jobs",
        ["sentq", f"sent-{place}", BATCH, "sentq.batches", *(LISTS if most >= 0 else ())],
        *(60, batch_document(place_of_first), most, -1, place),
        *(packed_ids(IDS[place : place + count]), "1" if closes else ""),
        *(f"message {number}" for number in range(count)),
    )


@pytest.mark.redis
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_batches_count_alike(both: BothServers, data: st.DataObject) -> None:
    both.__init__(both._real)  # type: ignore[misc]  # an example begins without keys
    places = st.integers(0, 5)
    actions = ["push", "push", "end", "cancel job", "cancel some", "close"]
    if data.draw(st.booleans()):
        both.call("open_batch", [BATCH], 60, data.draw(st.sampled_from([b"", b'{"task": "x"}'])))
    for action in data.draw(st.lists(st.sampled_from(actions), max_size=8)):
        place = data.draw(places)
        match action:
            case "push":
                most, closes = data.draw(st.integers(-1, 5)), data.draw(st.booleans())
                count = data.draw(st.integers(1, 3))
                _push_to_batch(both, place, count, most, closes=closes)
            case "end":
                document = data.draw(st.sampled_from([PENDING, STARTED, SUCCESS, FAILURE]))
                both.run("SET", DOCUMENTS[place], document, "EX", 60)
            case "cancel job":
                keys = [DOCUMENTS[place], f"sent-{data.draw(places)}", "cancelled", "sentq.batches"]
                both.call("cancel_job", keys, REVOKED, 60, IDS[place], "sentq-batch-")
            case "cancel some":
                documents = DOCUMENTS[place : place + 2]
                keys = [BATCH, "sentq.batches", "cancelled", *documents]
                both.call("cancel_batch_jobs", keys, 60, BATCH_ID, place, *([REVOKED] * 2))
            case "close":
                both.call("close_batch", [BATCH, "sentq.batches"], 60)
        both.run("HMGET", BATCH, *FIELDS)
        both.run("GETRANGE", f"{BATCH}:ends", 0, 99)
    both.compare_keys()
