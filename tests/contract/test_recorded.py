"""This version reads what earlier versions sent and stored, and writes it in the same form.

`docs/compatibility.md` has the rule. A record is made by `tests.contract.record` when a minor
version is released, and is not changed afterwards.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sentq import Client, ErrorCode, JobStatus, Prediction, TextError, errors
from sentq.admin.dead import RetryResult
from sentq.wire.dead_letters import DEAD_LETTERS_KEY
from sentq.wire.reports import report_key
from tests.contract.record import IDEMPOTENCY_KEY, WORKER, Record, record
from tests.support.processes import RedisProcess, StartWorker
from tests.support.workers.standin import hash_score

FILES = sorted((Path(__file__).parent / "recorded").glob("*.json"))

#: What later versions have added to a form: paths such as `messages.headers.new`. Each is ignored
#: by a reader that does not know it.
ADDED: frozenset[str] = frozenset(
    {
        "reports.busy_share",
        "reports.hub_budget",
        "reports.models",
        "reports.roll",
        "reports.oldest_sent_at_s",
        "reports.pace_jobs_per_s",
        "reports.texts_finished",
    }
)

#: What they have added to each prediction.
ADDED_TO_PREDICTIONS = re.compile(r"\.outcomes\.\d+\.language(_confidence|_supported)?$")

#: The type of what may be missing.
_NULL = "NoneType"

#: The texts of the recorded jobs; those of others are not needed.
TEXTS = {
    "one text": ["What a lovely day! \u2603"],
    "several texts": ["one", "", "t" * 300],
    "first of two jobs": ["first of two"],
    "second of two jobs": ["second", "of two"],
    "bulk": ["bulk work"],
    "idempotency key": ["with a key"],
    "local only": ["stays here"],
    "encrypted": ["a secret", "another"],
    "encrypted with options": ["sealed"],
    "encrypted outcome": ["an encrypted outcome"],
}


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def recorded(request: pytest.FixtureRequest) -> Record:
    """Each record."""
    found: Record = json.loads(request.param.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def reader(redis_server: RedisProcess, recorded: Record) -> Iterator[Client]:
    """A client of this version that has the key of the record."""
    key = recorded["encryption_key"]
    with Client(broker_url=redis_server.url, encryption_keys=[key]) as client:
        yield client


def _scores(texts: list[str]) -> list[float]:
    return [hash_score(text) for text in texts]


def test_there_is_a_record() -> None:
    assert [file.stem for file in FILES][:1] == ["0.1"]


def test_a_worker_of_today_scores_recorded_messages(
    redis_server: RedisProcess, start_worker: StartWorker, recorded: Record, reader: Client
) -> None:
    with redis_server.client() as redis:
        for name, value in recorded["keys"].items():
            redis.set(name, value)
        for sent in recorded["messages"]:
            redis.lpush(sent["queue"], sent["message"])
    jobs = {sent["name"]: reader.job(sent["job_id"]) for sent in recorded["messages"]}
    assert {job.status() for job in jobs.values()} == {JobStatus.QUEUED}
    again = reader.submit("with a key", key=IDEMPOTENCY_KEY)
    assert again.id == jobs["idempotency key"].id

    start_worker(
        redis_server.url,
        command=("tests.support.workers.standin",),
        SENTQ_ENCRYPTION_KEYS=recorded["encryption_key"],
    )
    for name, job in jobs.items():
        outcomes = job.result(timeout=60).outcomes
        if name == "deadline that has passed":
            (late,) = outcomes
            assert isinstance(late, TextError)
            assert late.code is ErrorCode.DEADLINE_PASSED
        else:
            scores = [one.score for one in outcomes if isinstance(one, Prediction)]
            assert scores == _scores(TEXTS[name]), name
    with redis_server.client() as redis:
        assert redis.xlen(DEAD_LETTERS_KEY) == 0


def test_a_client_of_today_reads_recorded_results(
    redis_server: RedisProcess, recorded: Record, reader: Client
) -> None:
    read = set()
    for result in recorded["results"]:
        name, job = result["name"], reader.job(result["job_id"])
        read.add(name)
        with redis_server.client() as redis:
            redis.set(f"celery-task-meta-{job.id}", result["document"])
        if name == "cancelled":
            assert job.status() is JobStatus.CANCELLED
            with pytest.raises(errors.JobCancelled):
                job.result(timeout=5)
        elif name == "refused":
            assert job.status() is JobStatus.FAILED
            with pytest.raises(errors.JobFailed) as failed:
                job.result(timeout=5)
            assert failed.value.code == "TooManyTexts"
        elif name in TEXTS:
            assert job.status() is JobStatus.DONE
            outcome = job.result(timeout=5)
            assert [one.score for one in outcome.outcomes if isinstance(one, Prediction)] == (
                _scores(TEXTS[name])
            )
            assert (outcome.model, outcome.backend, outcome.attempts) == ("scripted", "test", 1)
    assert read >= {"cancelled", "refused", *TEXTS}


def test_a_client_of_today_reads_recorded_reports(
    redis_server: RedisProcess, recorded: Record, reader: Client
) -> None:
    (report,) = recorded["reports"]
    with redis_server.client() as redis:
        redis.set(report_key(WORKER), report, ex=60)
        redis.zadd("sentq.workers", {WORKER: time.time() + 60})
    (seen,) = reader.service_status().workers
    assert seen.worker == WORKER
    assert seen.version == recorded["version"]
    assert seen.queues == ("sentq", "sentq.bulk")
    assert (seen.model, seen.backend, seen.labels) == ("scripted", "test", ("negative", "positive"))


def test_a_client_of_today_reads_and_retries_recorded_dead_letters(
    redis_server: RedisProcess, recorded: Record, reader: Client
) -> None:
    with redis_server.client() as redis:
        for dead in recorded["dead_letters"]:
            pairs = [part for pair in dead["fields"].items() for part in pair]
            redis.execute_command("XADD", DEAD_LETTERS_KEY, "*", *pairs)
    entries = list(reader.dead.entries())
    assert {entry.code for entry in entries} == {"malformed", "unknown_task"}
    (unknown,) = (entry for entry in entries if entry.code == "unknown_task")
    assert unknown.worker == WORKER
    assert reader.dead.texts(unknown) == ["of another task"]
    assert reader.dead.retry(unknown) is RetryResult.RETRIED
    with redis_server.client() as redis:
        assert redis.llen("sentq") == 1


def test_what_this_version_writes_has_the_recorded_form(
    own_redis: RedisProcess, tmp_path: Path, recorded: Record
) -> None:
    today, then = _forms(record(own_redis, tmp_path)), _forms(recorded)
    changed = {
        path: (form, today.get(path))
        for path, form in then.items()
        if path not in today or (_NULL not in {form, today[path]} and form != today[path])
    }
    assert changed == {}, "an older reader needs these"
    added = {path for path in set(today) - set(then) if not ADDED_TO_PREDICTIONS.search(path)}
    assert added - ADDED == set(), "name it in ADDED if older readers ignore it"


def test_a_code_of_a_newer_worker_does_not_fail_a_job(
    redis_server: RedisProcess, client: Client
) -> None:
    job = client.submit("a text")
    outcome = {
        "outcomes": [{"code": "of_the_future", "message": "new", "hint": "a new field"}],
        "model": "m",
        "revision": None,
        "backend": "b",
        "dtype": "d",
        "attempts": 1,
        "queued_ms": None,
        "inference_ms": 1.0,
        "another": "new field",
    }
    with redis_server.client() as redis:
        document = {"status": "SUCCESS", "result": outcome}
        redis.set(f"celery-task-meta-{job.id}", json.dumps(document))
    (error,) = job.result(timeout=5).outcomes
    assert isinstance(error, TextError)
    assert (error.code, error.message) == (ErrorCode.OTHER, "new")


def _forms(found: Record) -> dict[str, str]:
    """Return the types of all that a record has, by name and path."""
    forms: dict[str, str] = {}
    for sent in found["messages"]:
        message = json.loads(sent["message"])
        message["body"] = json.loads(base64.b64decode(message["body"]))
        forms |= _form(f"messages.{sent['name']}", message) | {
            f"messages.{sent['name']} queue": sent["queue"]
        }
    for result in found["results"]:
        forms |= _form(f"results.{result['name']}", json.loads(result["document"]))
    for report in found["reports"]:
        forms |= _form("reports", json.loads(report))
    for dead in found["dead_letters"]:
        fields = dict(dead["fields"])
        forms |= _form(f"dead_letters.{fields['code']}", fields)
    names = (_without_ids(name) for name in found["keys"])
    return forms | dict.fromkeys((f"keys.{name}" for name in names), "a key")


def _without_ids(name: str) -> str:
    """Return a key up to the id in it."""
    return next(
        (prefix for prefix in ("celery-task-meta-", "sentq-sent-") if name.startswith(prefix)), name
    )


def _form(path: str, value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        inner = {"": "object"}
        for name, each in value.items():
            inner |= {f".{key}": kind for key, kind in _form(name, each).items()}
    elif isinstance(value, list):
        inner = {"": "list"}
        for number, each in enumerate(value):
            inner |= {f".{key}": kind for key, kind in _form(str(number), each).items()}
    else:
        inner = {"": type(value).__name__}
    return {f"{path}{suffix}": kind for suffix, kind in inner.items()}
