"""Batches with real workers: each job is counted once, on each path that ends one, and the callback
is published once."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest

from sentq import BatchProgress, CallbackState, Client, JobOutcome, errors
from sentq.contract import BATCH_HEADER
from sentq.wire.batches import BatchPlace, batch_document, batch_key, packed_ids
from sentq.wire.ids import new_job_ids
from sentq.wire.lua import load_script
from tests.corpus.messages import message, raw
from tests.support.batch.scripts import TTL_S
from tests.support.celery.site import Site, run_site
from tests.support.processes import RedisProcess, StartWorker, WorkerProcess, eventually
from tests.support.roles.users import unless_roles_are_tested
from tests.support.workers.gated import scored, signalled
from tests.support.workers.standin import has_hash_scores

WAIT_S = 30
CANARY = "CANARY7b55"
QUEUE = "followup"
#: A queue that no worker reads.
KEPT = "followup-kept"

STANDIN: Final = ("tests.support.workers.standin",)

PUSH: Final = load_script("sentq.wire", "push_batch_jobs")

ALLOWED: Any = {
    "SENTQ_WORKER_FOLLOW_QUEUES": f"{QUEUE}, {KEPT}",
    "SENTQ_WORKER_FOLLOW_TASKS": "followup.save,followup.write",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site"), **ALLOWED) as site:
        yield site
        eventually(site.is_settled, what="everything acknowledged")
        assert CANARY not in site.worker.log


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[Client]:
    with Client(broker_url=site.server.url) as client:
        yield client


def _texts(count: int, what: str) -> list[str]:
    return [f"{CANARY} {what} {number}" for number in range(count)]


def _complete(batch_id: str, total: int, **counts: Any) -> BatchProgress:
    return BatchProgress(id=batch_id, total=total, is_closed=True, is_complete=True, **counts)


def test_all_jobs_are_scored_counted_and_read_in_both_orders(client: Client) -> None:
    texts = _texts(1300, "scored")
    batch = client.batch(texts)
    ended = {job.id: outcome for job, outcome in batch.as_completed(timeout=WAIT_S)}
    assert batch.progress() == _complete(batch.id, 1300, done=1300)
    in_order = list(batch.results(timeout=WAIT_S))
    assert [ended[job.id] for job in batch.jobs()] == in_order
    for text, outcome in zip(texts, in_order, strict=True):
        assert isinstance(outcome, JobOutcome)
        assert has_hash_scores(outcome.model_dump(), text)


def test_failed_late_and_cancelled_jobs_are_counted_as_such(site: Site, client: Client) -> None:
    with site.engine_busy("batch"):
        batch = client.open_batch()
        batch.add(_texts(3, "kept"))
        batch.add(["fail: it"])
        batch.add(_texts(2, "late"), deadline=0.01)
        batch.add(_texts(2, "cancelled"))
        jobs = list(batch.jobs())
        for job in jobs[-2:]:
            assert job.cancel()
        batch.close()
        assert batch.progress() == BatchProgress(id=batch.id, total=8, cancelled=2, is_closed=True)
    # A job that is late is done: each of its texts has an outcome.
    found = batch.wait(timeout=WAIT_S)
    assert (found.done + found.failed, found.cancelled) == (6, 2)
    kinds = [type(outcome) for outcome in batch.results(timeout=WAIT_S)]
    assert kinds.count(JobOutcome) == found.done
    assert kinds.count(errors.JobCancelled) == 2


def test_jobs_of_a_cancelled_batch_are_not_scored(site: Site, client: Client) -> None:
    texts = _texts(700, "not scored")
    with site.engine_busy("cancelled batch"):
        batch = client.batch(texts)
        cancelled = batch.cancel()
        eventually(
            lambda: batch.id in site.inspect("revoked"), what="the worker hears of the batch"
        )
    found = batch.wait(timeout=WAIT_S)
    assert found.cancelled + found.done == 700
    assert found.cancelled == cancelled == 700
    assert not set(texts) & set(scored(site.redis))


def test_jobs_that_are_left_when_a_cancelling_client_dies_are_cancelled_by_workers(
    site: Site, client: Client
) -> None:
    texts = _texts(40, "left")
    with site.engine_busy("half cancelled"):
        batch = client.batch(texts)
        batch_id, now_s = batch.id, time.time()
        # What the first step of cancelling writes, for no job.
        site.redis.zadd("sentq.cancelled", {batch_id: now_s})
        eventually(lambda: batch_id in site.inspect("revoked"), what="the batch is known")
    assert batch.wait(timeout=WAIT_S) == _complete(batch_id, 40, cancelled=40)
    assert not set(texts) & set(scored(site.redis))


def test_jobs_that_celery_finishes_are_counted_once(site: Site, client: Client) -> None:
    assert "ok" in site.control("rate_limit", "sentq.score", "500/s")
    try:
        batch = client.open_batch()
        batch.add(_texts(5, "limited"))
        # A failure of the engine is one of all jobs that it was given together.
        eventually(lambda: batch.progress().done == 5, what="the outcomes of the others")
        batch.add(["fail: limited"])
        batch.close()
        assert batch.wait(timeout=WAIT_S) == _complete(batch.id, 6, done=5, failed=1)
    finally:
        assert "ok" in site.control("rate_limit", "sentq.score", "0")
    assert signalled(site.redis, next(batch.jobs()).id), "while limited, Celery finishes jobs"
    kinds = [type(outcome) for _, outcome in batch.as_completed(timeout=WAIT_S)]
    assert (kinds.count(JobOutcome), kinds.count(errors.JobFailed)) == (5, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"expires": "2020-01-01T00:00:00"},
        {"eta": "2020-01-01T00:00:00"},
        {"eta": 1},
        {"retries": 1},
    ],
    ids=["expired", "due", "scheduled", "retries"],
)
def test_jobs_with_options_of_celery_are_counted_once(
    site: Site, client: Client, options: dict[str, Any]
) -> None:
    batch = client.open_batch()
    key = batch_key(batch.id)
    job_id = _enter(site, batch.id)
    if "eta" in options and isinstance(options["eta"], int):
        options = {"eta": (datetime.now(UTC) + timedelta(seconds=options["eta"])).isoformat()}
    headers = {BATCH_HEADER: f"{batch.id}:0", **options}
    body = json.dumps([[[f"{CANARY} with options"]], {}, {}])
    for _ in range(2):
        site.redis.lpush("sentq", raw(message(body, job_id=job_id, headers=headers)))
        batch.close()
        found = batch.wait(timeout=WAIT_S)
        expected = {"failed": 1} if "expires" in options else {"done": 1}
        assert found == _complete(batch.id, 1, **expected)
        eventually(site.is_settled, what="acknowledged")
    assert site.redis.strlen(f"{key}:ends") == 4


def _enter(site: Site, batch_id: str) -> str:
    """Enter one job into an open batch without a message; return its id."""
    (job_id,) = new_job_ids(1)
    PUSH.run(
        site.redis,
        ["none", f"sentq-sent-{job_id[:23]}", batch_key(batch_id), "sentq.batches"],
        [TTL_S, batch_document(BatchPlace(batch_id, 0)), -1, -1, 0, packed_ids([job_id]), ""],
    )
    return job_id


@pytest.mark.parametrize("kind", ["malformed", "too large", "refused"])
def test_jobs_whose_messages_become_dead_letters_are_counted_as_failed(
    site: Site, client: Client, kind: str
) -> None:
    batch = client.open_batch()
    job_id = _enter(site, batch.id)
    batch.close()
    headers: dict[str, Any] = {BATCH_HEADER: f"{batch.id}:0"}
    content: list[Any] = [[["text"]], {}, {}]
    if kind == "malformed":
        headers["eta"] = "no date"
    elif kind == "refused":
        content[2] = {"callbacks": [{"task": "other", "args": [], "kwargs": {}, "options": {}}]}
    else:
        content[0] = [["x" * 3_000_000]]
    site.redis.lpush("sentq", raw(message(json.dumps(content), job_id=job_id, headers=headers)))
    assert batch.wait(timeout=WAIT_S) == _complete(batch.id, 1, failed=1)
    ((_, outcome),) = batch.as_completed(timeout=WAIT_S)
    assert isinstance(outcome, errors.JobFailed)
    eventually(site.pop_dead_letter, what="a dead letter")


def test_a_message_with_an_invalid_place_is_scored_and_counted_nowhere(
    site: Site, client: Client
) -> None:
    job = client.submit("text")
    job.result(timeout=WAIT_S)
    batch = client.batch(_texts(1, "counted"))
    for value in (f"{batch.id}:7", f"{batch.id}:-1", "junk", 5, f"{job.id}:0"):
        forged = site.score("text", headers={BATCH_HEADER: value})
        assert forged.get(timeout=WAIT_S)["outcomes"]
    assert batch.wait(timeout=WAIT_S) == _complete(batch.id, 1, done=1)


# --- Callbacks -----------------------------------------------------------------------------


def _messages(site: Site, queue: str) -> list[dict[str, Any]]:
    found = cast("list[bytes]", site.redis.lrange(queue, 0, -1))
    return [json.loads(each) for each in found]


def test_a_callback_runs_when_all_jobs_have_ended(
    site: Site, client: Client, follower: WorkerProcess
) -> None:
    signature = site.followup("write", "and", task_id="0192f0c1-7d3c-7aaa-8bbb-000000000001")
    batch = client.batch(_texts(3, "callback"), then=signature)
    result = site.stock.AsyncResult("0192f0c1-7d3c-7aaa-8bbb-000000000001")
    assert result.get(timeout=WAIT_S) == [batch.id, "and"]
    assert batch.progress() == _complete(batch.id, 3, done=3, callback=CallbackState.SENT)


def test_what_follows_a_callback_is_called_too(
    site: Site, client: Client, follower: WorkerProcess
) -> None:
    following = site.followup("write", immutable=True).set(
        task_id="0192f0c1-7d3c-7aaa-8bbb-000000000003"
    )
    signature = site.followup("write", "first")
    signature.link(following)
    client.batch(_texts(1, "followed"), then=signature)
    result = site.stock.AsyncResult("0192f0c1-7d3c-7aaa-8bbb-000000000003")
    assert result.get(timeout=WAIT_S) == []


def test_an_immutable_callback_gets_its_own_arguments_only(
    site: Site, client: Client, follower: WorkerProcess
) -> None:
    signature = site.followup("write", "alone", immutable=True).set(
        task_id="0192f0c1-7d3c-7aaa-8bbb-000000000002"
    )
    client.batch(_texts(1, "immutable"), then=signature)
    result = site.stock.AsyncResult("0192f0c1-7d3c-7aaa-8bbb-000000000002")
    assert result.get(timeout=WAIT_S) == ["alone"]


def test_a_callback_is_published_when_a_batch_is_closed_or_cancelled_by_a_client(
    site: Site, client: Client
) -> None:
    signature = site.stock.signature("followup.save").set(queue=KEPT, priority=9)
    batch = client.open_batch(then=signature)
    batch.add(_texts(2, "closed later"))
    eventually(lambda: batch.progress().done == 2, what="both jobs")
    assert batch.progress().callback is CallbackState.WAITING
    batch.close()
    eventually(lambda: batch.progress().callback is CallbackState.SENT, what="a callback")
    with site.engine_busy("callback of a cancelled batch"):
        other = client.batch(_texts(2, "cancelled later"), then=signature)
        other.cancel()
    eventually(lambda: other.progress().callback is CallbackState.SENT, what="a callback")
    sent = _messages(site, f"{KEPT}\x06\x169")
    assert len(sent) == 2
    assert {each["headers"]["task"] for each in sent} == {"followup.save"}
    assert len({each["headers"]["id"] for each in sent}) == 2
    assert not site.redis.exists("sentq.batches")


@pytest.mark.parametrize(
    ("task", "queue"), [("followup.save", "other"), ("other", QUEUE), ("celery.chord", QUEUE)]
)
def test_a_callback_that_the_workers_do_not_allow_is_refused(
    site: Site, client: Client, task: str, queue: str
) -> None:
    batch = client.batch(_texts(1, "refused"), then=site.stock.signature(task).set(queue=queue))
    assert batch.wait(timeout=WAIT_S).done == 1
    eventually(lambda: batch.progress().callback is CallbackState.REFUSED, what="a refusal")
    assert not site.redis.exists("other")


def test_forged_entries_of_complete_batches_do_no_harm(site: Site, client: Client) -> None:
    batch = client.batch(_texts(1, "honest"))
    batch.wait(timeout=WAIT_S)
    key = batch_key(batch.id)
    site.redis.hset(key, mapping={"callback": "{", "callback_state": "waiting"})
    site.redis.set("sentq-batch-0192f0c1-7d3c-7aaa-8bbb-0123456789ab", "no hash")
    forged: list[Any] = ["unacked", "sentq", key, "sentq-batch-", "sentq-batch-x", b"\xff"]
    forged.append("sentq-batch-0192f0c1-7d3c-7aaa-8bbb-0123456789ab")
    site.redis.zadd("sentq.batches", dict.fromkeys(forged, 1))
    eventually(lambda: not site.redis.exists("sentq.batches"), what="all are removed")
    assert batch.progress().callback is CallbackState.REFUSED
    assert client.submit("still alive").result(timeout=WAIT_S).outcomes


# --- Encryption, and results in another Redis ----------------------------------------------


def test_encrypted_batches_are_read_in_both_orders(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    key = f"a:{base64.b64encode(os.urandom(32)).decode()}"
    settings = {"SENTQ_ENCRYPTION_KEYS": key, "SENTQ_WORKER_ENCRYPT_RESULTS": "true"}
    start_worker(redis_server.url, command=STANDIN, **settings)
    with Client(broker_url=redis_server.url, encryption_keys=[key]) as client:
        batch = client.batch(_texts(20, "secret"))
        outcomes = [outcome for _, outcome in batch.as_completed(timeout=WAIT_S)]
        assert all(isinstance(outcome, JobOutcome) for outcome in outcomes)
        assert list(client.as_completed(batch.jobs(), timeout=WAIT_S))
        for text, outcome in zip(_texts(20, "secret"), batch.results(), strict=True):
            assert isinstance(outcome, JobOutcome)
            assert has_hash_scores(outcome.model_dump(), text)
    with redis_server.client() as server:
        assert not any(CANARY.encode() in (server.dump(each) or b"") for each in server.keys("*"))


@unless_roles_are_tested("users.acl permits one database")
def test_jobs_are_counted_where_results_are_in_another_database(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    results = redis_server.url.replace("/0", "/1")
    start_worker(redis_server.url, command=STANDIN, SENTQ_RESULT_URL=results)
    with Client(broker_url=redis_server.url, result_url=results) as client:
        batch = client.batch(_texts(120, "apart"))
        found = batch.wait(timeout=WAIT_S)
        assert found == _complete(batch.id, 120, done=120)
        assert len(list(batch.as_completed(timeout=WAIT_S))) == 120
