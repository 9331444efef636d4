"""Dead letters for operators: `client.dead` and the command `sentq dead`."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from sentq import Client, Job, JobStatus, Settings, errors
from sentq.admin.dead import RetryResult, Selection, texts_of
from sentq.cli import app
from sentq.contract import (
    ALONE_HEADER,
    DEADLINE_HEADER,
    DELIVERIES_HEADER,
    FIRST_ERROR_HEADER,
    LAST_ERROR_HEADER,
)
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, dead_letter_fields
from tests.support.processes import RedisProcess

_FAILURE = {"status": "FAILURE", "result": {"exc_type": "WorkerLost", "exc_message": ["lost"]}}


class DeadLetterStream:
    """The stream of dead letters of a Redis."""

    def __init__(self, server: RedisProcess, client: Client) -> None:
        self.server = server
        self.client = client

    def add(self, *, age_s: float = 0, prefix: str = "", **about: Any) -> str:
        """Write a dead letter as a worker does, and return its id."""
        about = {"code": "malformed", "reason": "r", "message": b"{}"} | about
        with self.server.client() as redis:
            entry_id = "*"
            if age_s:
                entry_id = f"{round((redis.time()[0] - age_s) * 1000)}-0"
            raw = redis.execute_command(
                "XADD", prefix + DEAD_LETTERS_KEY, entry_id, *dead_letter_fields(**about)
            )
        return str(raw, "ascii")

    def add_poison_job(self, text: str = "text", *, bulk: bool = False) -> tuple[Job, str]:
        """Send a job, dead-letter it as after three lost workers, and return it and the id."""
        job = self.client.submit(text, bulk=bulk, deadline=60)
        queue = "sentq.bulk" if bulk else "sentq"
        with self.server.client() as redis:
            raw = redis.lpop(queue)
            assert isinstance(raw, bytes)
            message = json.loads(raw)
            message["headers"] |= {
                DELIVERIES_HEADER: 3,
                FIRST_ERROR_HEADER: "the worker was lost",
                LAST_ERROR_HEADER: "the worker was lost",
                ALONE_HEADER: {"worker": "w", "at_s": 1},
                "redelivered": True,
            }
            message["properties"]["delivery_info"]["redelivered"] = True
            redis.set(f"celery-task-meta-{job.id}", json.dumps(_FAILURE))
        dead_letter_id = self.add(
            code="worker_lost",
            job_id=job.id,
            deliveries=4,
            queue=queue,
            message=json.dumps(message).encode(),
        )
        return job, dead_letter_id

    def queued(self, queue: str = "sentq") -> list[Any]:
        with self.server.client() as redis:
            return [json.loads(raw) for raw in redis.lrange(queue, 0, -1)]

    def count(self) -> int:
        with self.server.client() as redis:
            return int(redis.xlen(DEAD_LETTERS_KEY))


@pytest.fixture
def stream(redis_server: RedisProcess, client: Client) -> DeadLetterStream:
    return DeadLetterStream(redis_server, client)


# --- client.dead -----------------------------------------------------------------------------


def test_dead_letters_are_selected_by_code_and_age(stream: DeadLetterStream) -> None:
    old = stream.add(age_s=7200)
    lost = stream.add(age_s=600, code="worker_lost")
    new = stream.add()

    def ids(**which: Any) -> list[str]:
        return [dead_letter.id for dead_letter in stream.client.dead.entries(Selection(**which))]

    assert ids() == [old, lost, new]
    assert ids(codes=("worker_lost",)) == [lost]
    assert ids(codes=("worker_lost", "malformed")) == [old, lost, new]
    assert ids(older_than_s=300) == [old, lost]
    assert ids(newer_than_s=3600) == [lost, new]
    assert ids(newer_than_s=3600, older_than_s=300) == [lost]
    assert ids(older_than_s=10**12) == []
    assert stream.client.dead.count() == {"malformed": 2, "worker_lost": 1}


def test_all_dead_letters_of_several_pages_are_listed(stream: DeadLetterStream) -> None:
    ids = [stream.add() for _ in range(107)]
    assert [dead_letter.id for dead_letter in stream.client.dead.entries()] == ids


def test_expired_dead_letters_are_deleted_when_they_are_listed(redis_server: RedisProcess) -> None:
    with Client(broker_url=redis_server.url, dead_letter_ttl_s=3600) as client:
        stream = DeadLetterStream(redis_server, client)
        stream.add(age_s=3700)
        kept = stream.add(age_s=3500)
        assert [dead_letter.id for dead_letter in client.dead.entries()] == [kept]
        assert stream.count() == 1


def test_a_foreign_entry_in_the_dead_letter_stream_is_skipped(stream: DeadLetterStream) -> None:
    with stream.server.client() as redis:
        foreign = redis.xadd(DEAD_LETTERS_KEY, {"text": "CANARY"})
    own = stream.add()
    assert [dead_letter.id for dead_letter in stream.client.dead.entries()] == [own]
    assert stream.client.dead.drop([foreign.decode()]) == 1


@pytest.mark.parametrize("queue", ["sentq", "sentq.bulk"])
def test_a_retried_job_equals_a_new_one_at_the_end_of_the_queue(
    stream: DeadLetterStream, queue: str
) -> None:
    bulk = queue == "sentq.bulk"
    stream.client.submit("ümläut", bulk=bulk, deadline=60)
    (expected,) = stream.queued(queue)
    job, dead_letter_id = stream.add_poison_job("ümläut", bulk=bulk)
    assert job.status() is JobStatus.FAILED
    dead_letter = stream.client.dead.get(dead_letter_id)
    assert dead_letter is not None
    assert texts_of(dead_letter) == ["ümläut"]
    assert stream.client.dead.retry(dead_letter) is RetryResult.RETRIED
    retried, before = stream.queued(queue)
    assert before == expected, "the retried job is last in the queue"
    assert retried["headers"]["id"] == job.id
    for message in (retried, expected):
        del message["headers"]["id"], message["headers"]["root_id"]
        del message["headers"][DEADLINE_HEADER]
        del message["properties"]["correlation_id"], message["properties"]["delivery_tag"]
    assert retried == expected
    assert job.status() is JobStatus.QUEUED
    assert stream.count() == 0
    assert stream.client.dead.retry(dead_letter) is RetryResult.NOT_FOUND
    assert len(stream.queued(queue)) == 2


def test_a_retried_job_keeps_its_priority(stream: DeadLetterStream) -> None:
    message = {"headers": {}, "properties": {"priority": 7, "delivery_info": {}}, "body": ""}
    stream.add(queue="sentq", message=json.dumps(message).encode())
    (dead_letter,) = stream.client.dead.entries()
    assert stream.client.dead.retry(dead_letter) is RetryResult.RETRIED
    assert stream.queued("sentq\x06\x166") == [message]


@pytest.mark.parametrize("status", ["SUCCESS", "REVOKED"])
@pytest.mark.parametrize("results", ["/0", "/1"])
def test_a_job_with_a_result_is_not_retried(
    redis_server: RedisProcess, status: str, results: str
) -> None:
    url = redis_server.url
    with Client(broker_url=url, result_url=url.removesuffix("/0") + results) as client:
        stream = DeadLetterStream(redis_server, client)
        job, _ = stream.add_poison_job()
        document = json.dumps({"status": status, "result": None}).encode()
        client._app.backend.client.set(f"celery-task-meta-{job.id}", document)
        (dead_letter,) = client.dead.entries()
        assert client.dead.retry(dead_letter) is RetryResult.ENDED
        assert client._app.backend.client.get(f"celery-task-meta-{job.id}") == document
    assert stream.queued() == []
    assert stream.count() == 0


def test_a_retry_works_with_a_key_prefix(
    redis_server: RedisProcess,
) -> None:
    settings = Settings.load(
        broker_url=redis_server.url, transport_options={"global_keyprefix": "a:"}
    )
    with Client(settings) as client:
        stream = DeadLetterStream(redis_server, client)
        job = client.submit("text")
        with redis_server.client() as redis:
            raw = redis.rpop("a:sentq")
        assert isinstance(raw, bytes)
        stream.add(prefix="a:", job_id=job.id, queue="sentq", message=raw)
        client._app.backend.client.set(f"a:celery-task-meta-{job.id}", json.dumps(_FAILURE))
        assert job.status() is JobStatus.FAILED
        (dead_letter,) = client.dead.entries()
        assert client.dead.retry(dead_letter) is RetryResult.RETRIED
        assert job.status() is JobStatus.QUEUED
        assert [message["headers"]["id"] for message in stream.queued("a:sentq")] == [job.id]


def test_an_unreadable_message_is_retried_unchanged(stream: DeadLetterStream) -> None:
    stream.add(message=b"\xff no message", queue="sentq")
    (dead_letter,) = stream.client.dead.entries()
    assert texts_of(dead_letter) is None
    assert stream.client.dead.retry(dead_letter) is RetryResult.RETRIED
    with stream.server.client() as redis:
        assert redis.lrange("sentq", 0, -1) == [b"\xff no message"]


def test_a_truncated_message_is_not_retried(stream: DeadLetterStream) -> None:
    message = b"beginning" + b"x" * 100_000 + b"end"
    stream.add(message=message, queue="sentq")
    (dead_letter,) = stream.client.dead.entries()
    assert dead_letter.size_bytes == len(message)
    assert len(dead_letter.message) < 5_000
    assert dead_letter.message.startswith(b"beginning")
    assert dead_letter.message.endswith(b"end")
    assert stream.client.dead.retry(dead_letter) is RetryResult.TRUNCATED
    assert (stream.queued(), stream.count()) == ([], 1)


def test_only_malformed_messages_are_truncated(stream: DeadLetterStream) -> None:
    stream.add(message=b"x" * 100_000, code="undecryptable")
    stream.add(message=b"x" * 65_536)
    for dead_letter in stream.client.dead.entries():
        assert not dead_letter.is_truncated
        assert len(dead_letter.message) >= 65_536


def test_an_unavailable_redis_is_a_typed_error(own_redis: RedisProcess) -> None:
    with Client(broker_url=own_redis.url) as client:
        own_redis.stop()
        with pytest.raises(errors.BrokerUnavailable):
            client.dead.count()


# --- The command sentq dead ------------------------------------------------------------------


class DeadCommand:
    """Runs `sentq dead` in this process."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url

    def __call__(self, *arguments: str) -> Any:
        return CliRunner().invoke(
            app, ["dead", *arguments, "--broker-url", self._broker_url], catch_exceptions=False
        )

    def error_of(self, *arguments: str) -> str:
        with pytest.raises(errors.InvalidInput) as refused:
            self(*arguments)
        return str(refused.value)


@pytest.fixture
def dead(redis_server: RedisProcess) -> DeadCommand:
    return DeadCommand(redis_server.url)


def test_retry_says_that_truncated_messages_cannot_be_sent_again(
    stream: DeadLetterStream, dead: DeadCommand
) -> None:
    stream.add(message=b"x" * 100_000, queue="sentq")
    stream.add_poison_job()
    done = dead("retry", "--all", "--yes")
    assert done.exit_code == 1
    assert "1 requeued" in done.stderr
    assert "1 cannot be sent again: only the beginning and the end" in done.stderr
    assert stream.count() == 1


def test_list_prints_counts_and_shows_texts_only_on_request(
    stream: DeadLetterStream, dead: DeadCommand
) -> None:
    job, dead_letter = stream.add_poison_job("CANARY \x1b[2J")
    stream.add(message=b"CANARY, which is no message")
    listed = dead("list")
    assert listed.exit_code == 0
    assert "2 dead letters: 1 worker_lost, 1 malformed" in listed.stderr
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert (rows[0]["id"], rows[0]["job_id"], rows[0]["deliveries"]) == (dead_letter, job.id, 4)
    assert rows[0]["at"].endswith("+00:00")
    for shown in (listed, dead("list", "--table"), dead("show", dead_letter, "--table")):
        assert "CANARY" not in shown.output
        assert base64.b64encode(b"CANARY").decode()[:6] not in shown.output
    with_text = dead("list", "--show-text").stdout.splitlines()
    assert json.loads(with_text[0])["texts"] == ["CANARY \x1b[2J"]
    assert json.loads(with_text[1])["message"] == "CANARY, which is no message"
    table = dead("list", "--table", "--show-text").stdout
    assert "CANARY" in table
    assert "\x1b[2J" not in table
    limited = dead("list", "--limit", "1")
    assert len(limited.stdout.splitlines()) == 1
    assert "--limit shows more" in limited.stderr


def test_values_that_are_not_texts_are_shown(stream: DeadLetterStream, dead: DeadCommand) -> None:
    body = base64.b64encode(b'[[["\\ud800", NaN, null, {"a": 1}]], {}, {}]').decode()
    stream.add(message=json.dumps({"body": body}).encode())
    (row,) = dead("list", "--show-text").stdout.splitlines()
    assert json.loads(row)["texts"] == ["\ud800", "nan", "None", "{'a': 1}"]
    assert dead("list", "--show-text", "--table").exit_code == 0
    assert dead("show", json.loads(row)["id"], "--show-text", "--table").exit_code == 0


def test_list_selects_by_code_and_age(stream: DeadLetterStream, dead: DeadCommand) -> None:
    old = stream.add(age_s=7200)
    new = stream.add(code="worker_lost")
    for options, ids in (
        (("--code", "worker_lost"), [new]),
        (("--older-than", "1h"), [old]),
        (("--newer-than", "90m"), [new]),
        (("--newer-than", "30s", "--code", "malformed"), []),
    ):
        rows = dead("list", *options).stdout.splitlines()
        assert [json.loads(row)["id"] for row in rows] == ids
    assert "not a duration" in dead("list", "--older-than", "soon").output


def test_show_prints_all_fields(stream: DeadLetterStream, dead: DeadCommand) -> None:
    dead_letter = stream.add(
        code="worker_lost", worker="celery@here", last_error="the worker was lost"
    )
    shown = dead("show", dead_letter, "--table")
    assert "celery@here" in shown.stdout
    assert "the worker was lost" in shown.stdout
    for unknown_id in ("1-1", "no id"):
        missing = dead("show", unknown_id)
        assert missing.exit_code == 1
        assert "not exist" in missing.stderr


def test_retry_and_drop_take_ids_filters_or_all(
    stream: DeadLetterStream, dead: DeadCommand
) -> None:
    job, dead_letter = stream.add_poison_job()
    malformed = [stream.add() for _ in range(3)]
    assert "--all" in dead.error_of("retry")
    assert "--all" in dead.error_of("drop", dead_letter, "--code", "x")
    assert "--yes" in dead.error_of("drop", "--all")
    counted = dead("drop", "--all", "--dry-run")
    assert "4 dead letters: 3 malformed, 1 worker_lost" in counted.stderr
    assert stream.count() == 4
    retried = dead("retry", "--code", "worker_lost", "--yes")
    assert retried.exit_code == 0
    assert "1 requeued" in retried.stderr
    assert job.status() is JobStatus.QUEUED
    dropped = dead("drop", malformed[0], "1-1", "--yes")
    assert dropped.exit_code == 1
    assert "1 dropped" in dropped.stderr
    assert "1 of them does not exist" in dropped.stderr
    assert dead("drop", "--all", "--yes").exit_code == 0
    assert stream.count() == 0
    assert dead("retry", "--all", "--yes").exit_code == 0


def test_help_has_examples() -> None:
    for arguments in (["dead", "--help"], ["status", "--help"]):
        assert "Examples:" in CliRunner().invoke(app, arguments).output
