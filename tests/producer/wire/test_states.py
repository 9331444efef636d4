"""Which states of a job may replace which: Python and the generated Lua agree on a real Redis."""

from __future__ import annotations

from typing import Final

import orjson
import pytest
from celery import states as celery_states

from sentq.contract import JobStatus
from sentq.wire.documents import (
    QUEUED_DOCUMENT,
    cancelled_document,
    due_ms_of,
    is_final,
    scheduled_document,
    status_of,
)
from sentq.wire.lua import Script, resolve_includes
from sentq.wire.states import ABSENT, RESULT_STATES, ResultState, Transition
from tests.support.processes import RedisProcess

_DECIDE = Script(
    resolve_includes(
        "-- include: result_states\n"
        "local status = status_of(redis.call('GET', KEYS[1]))\n"
        "local may = {store = may_store, cancel = may_cancel, requeue = may_requeue}\n"
        "return {status, may[ARGV[1]](status) and 1 or 0}\n"
    )
)

_FOREIGN = ResultState(JobStatus.RUNNING, is_final=False, transitions=frozenset())

#: The document of each state, and what Python says about it.
_CASES: dict[str, tuple[bytes | None, ResultState]] = {
    "absent": (None, ABSENT),
    **{
        name: (orjson.dumps({"status": name, "result": None}), state)
        for name, state in RESULT_STATES.items()
    },
    # Celery's serializer writes a space, sentq's does not.
    "PENDING with a space": (b'{"status": "PENDING"}', RESULT_STATES["PENDING"]),
    "unknown": (b'{"status": "PROGRESS"}', _FOREIGN),
    "lower case": (b'{"status": "absent"}', _FOREIGN),
    "compressed": (b"\x78\x9c\xab", _FOREIGN),
    "status in another place": (b'{"result": null, "status": "PENDING"}', _FOREIGN),
    "empty": (b"", _FOREIGN),
}


_END: Final = Script(
    resolve_includes(
        "-- include: result_states\n"
        "return {is_final(status_of(ARGV[1])) and 1 or 0, end_state(ARGV[1])}\n"
    )
)

#: How a batch counts a final document, by what its client reports.
_COUNTED: Final = {JobStatus.DONE: 1, JobStatus.FAILED: 2, JobStatus.CANCELLED: 3}


@pytest.mark.parametrize("message", ["revoked", "expired", "terminated"])
@pytest.mark.parametrize("name", RESULT_STATES)
def test_batches_count_a_job_as_its_client_reports_it(
    redis_server: RedisProcess, name: str, message: str
) -> None:
    document = {"status": name, "result": {"exc_message": [message]}}
    with redis_server.client() as connection:
        final, state = _END.run(connection, [], [orjson.dumps(document)])
    assert bool(final) is RESULT_STATES[name].is_final
    if final:
        assert state == _COUNTED[status_of(document)]


@pytest.mark.parametrize("document", ["", "junk", '{"result": 1, "status": "SUCCESS"}'])
def test_batches_count_a_job_with_a_foreign_document_as_failed(
    redis_server: RedisProcess, document: str
) -> None:
    with redis_server.client() as connection:
        assert _END.run(connection, [], [document]) == [0, 2]


@pytest.mark.parametrize("transition", Transition)
@pytest.mark.parametrize("case", _CASES)
def test_lua_and_python_permit_the_same_transitions(
    redis_server: RedisProcess, case: str, transition: Transition
) -> None:
    document, state = _CASES[case]
    with redis_server.client() as connection:
        if document is not None:
            connection.set("job", document)
        status, permitted = _DECIDE.run(connection, ["job"], [transition.value])
    assert bool(permitted) is (transition in state.transitions)
    if state is not _FOREIGN:
        assert status.decode() == case.split(maxsplit=1)[0]


def test_the_table_names_every_status_that_celery_stores() -> None:
    stored = celery_states.ALL_STATES - {celery_states.REJECTED, celery_states.IGNORED}
    assert set(RESULT_STATES) == stored


@pytest.mark.parametrize("name", RESULT_STATES)
def test_documents_are_read_by_the_table(name: str) -> None:
    state = RESULT_STATES[name]
    assert is_final({"status": name}) is state.is_final
    assert status_of({"status": name}) is state.status


def test_a_document_of_an_unknown_status_is_that_of_a_running_job() -> None:
    assert not is_final({"status": "PROGRESS"})
    assert status_of({"status": "PROGRESS"}) is JobStatus.RUNNING


def test_a_final_state_is_replaced_only_when_a_failed_job_is_retried() -> None:
    replaceable = {name for name, state in RESULT_STATES.items() if state.transitions}
    final = {name for name, state in RESULT_STATES.items() if state.is_final}
    assert replaceable & final == {"FAILURE"}
    assert RESULT_STATES["FAILURE"].transitions == {Transition.REQUEUE}


def test_a_cancelled_document_is_final() -> None:
    assert is_final(orjson.loads(cancelled_document("id")))


@pytest.mark.parametrize(
    ("document", "due_ms"),
    [
        (scheduled_document(1_900_000_000_123), 1_900_000_000_123),
        (QUEUED_DOCUMENT, None),
        (b'{"status": "STARTED", "due_ms": 1900000000123}', None),
        (b'{"status": "PENDING", "due_ms": "1900000000123"}', None),
        (b'{"status": "PENDING", "due_ms": true}', None),
        (b'{"status": "PENDING", "due_ms": 1e300}', None),
        (b'{"status": "PENDING", "due_ms": -1}', None),
        (b'{"status": "PENDING", "due_ms": 9000000000000000000}', None),
    ],
)
def test_a_queued_document_may_say_when_its_job_is_due(document: bytes, due_ms: int | None) -> None:
    assert due_ms_of(orjson.loads(document)) == due_ms
