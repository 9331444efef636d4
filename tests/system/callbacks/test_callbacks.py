"""Callbacks of jobs with a real worker and a stock Celery worker that runs them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest

from sentq import AsyncClient, Client, JobStatus, errors
from sentq.contract import CALLBACK_HEADER
from sentq.sending.callback import callback_of_jobs
from tests.corpus.messages import message, raw
from tests.support.celery.site import Site, run_site
from tests.support.processes import RedisProcess, StartWorker, WorkerProcess, eventually
from tests.support.workers.standin import has_hash_scores

WAIT_S = 30
CANARY = "CANARY9d17"
QUEUE = "followup"

#: A queue that no worker reads.
KEPT = "followup-kept"

STANDIN: Final = ("tests.support.workers.standin",)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    allowed: Any = {
        "SENTQ_WORKER_FOLLOW_QUEUES": f"{QUEUE}, {KEPT}",
        "SENTQ_WORKER_FOLLOW_TASKS": "followup.save,followup.write,followup.regret",
    }
    with run_site(tmp_path_factory.mktemp("site"), **allowed) as site:
        yield site
        eventually(site.is_settled, what="everything acknowledged")
        assert CANARY not in site.worker.log


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[Client]:
    with Client(broker_url=site.server.url) as client:
        yield client


def _write(site: Site, *args: Any, **options: Any) -> tuple[Any, Any]:
    """Return the signature of a task that returns its arguments, and the handle of its result."""
    task_id = str(uuid.uuid4())
    signature = site.followup("write", *args, task_id=task_id, **options)
    return signature, site.stock.AsyncResult(task_id)


def _kept(site: Site, **options: Any) -> Any:
    """Return a signature whose messages stay in a queue."""
    return site.stock.signature("followup.save", **options).set(queue=KEPT)


def _messages(site: Site, queue: str = KEPT) -> list[dict[str, Any]]:
    """Take the messages of a queue, the oldest first, with decoded bodies."""
    found = cast("list[bytes]", site.redis.lrange(queue, 0, -1))
    site.redis.delete(queue)
    messages = [json.loads(each) for each in reversed(found)]
    for each in messages:
        each["body"] = json.loads(base64.b64decode(each["body"]))
    return messages


def test_a_callback_runs_with_the_id_of_a_job_whose_outcome_is_stored(
    site: Site, client: Client, follower: WorkerProcess
) -> None:
    signature, result = _write(site, "and", 7)
    job = client.submit(f"{CANARY} id", then=signature)
    assert result.get(timeout=WAIT_S) == [job.id, "and", 7]
    assert job.status() is JobStatus.DONE
    assert job.result(timeout=0).outcomes


def test_a_callback_runs_with_the_outcome(
    site: Site, client: Client, follower: WorkerProcess
) -> None:
    signature, result = _write(site)
    job = client.submit(["one", "two"], then=signature, then_argument="outcome")
    ((found,),) = [result.get(timeout=WAIT_S)]
    assert (found["job_id"], found["error"]) == (job.id, None)
    assert found["outcome"] == job.result(timeout=0).model_dump(mode="json", exclude_unset=True)


def test_the_client_for_asyncio_has_callbacks_too(site: Site, follower: WorkerProcess) -> None:
    signature, result = _write(site)

    async def main() -> str:
        async with AsyncClient(broker_url=site.server.url) as client:
            return (await client.submit("text", then=signature)).id

    assert asyncio.run(main()) == result.get(timeout=WAIT_S)[0]


def test_an_immutable_callback_gets_its_own_arguments_only(
    site: Site, client: Client, follower: WorkerProcess
) -> None:
    signature, result = _write(site, "alone", immutable=True)
    client.submit("text", then=signature, then_argument="outcome")
    assert result.get(timeout=WAIT_S) == ["alone"]


def test_what_follows_a_callback_is_called_too(
    site: Site, client: Client, follower: WorkerProcess
) -> None:
    following, result = _write(site, immutable=True)
    signature, _ = _write(site)
    signature.link(following)
    client.submit("text", then=signature)
    assert result.get(timeout=WAIT_S) == []


def test_each_of_many_jobs_has_its_callback_once(site: Site, client: Client) -> None:
    jobs = client.submit_many((f"{CANARY} {n}" for n in range(1200)), then=_kept(site))
    for outcome in client.results(jobs, timeout=WAIT_S):
        assert not isinstance(outcome, Exception)
    found = _messages(site)
    assert sorted(each["body"][0][0] for each in found) == sorted(job.id for job in jobs)
    assert len({each["headers"]["id"] for each in found}) == 1200
    assert {each["headers"]["parent_id"] for each in found} == {job.id for job in jobs}


def test_a_failed_job_has_its_callback_and_a_cancelled_one_has_none(
    site: Site, client: Client
) -> None:
    failing = client.submit("fail: it", then=_kept(site), then_argument="outcome")
    with pytest.raises(errors.JobFailed):
        failing.result(timeout=WAIT_S)
    ((found, *_), *_) = (each["body"][0] for each in _messages(site))
    assert (found["job_id"], found["outcome"]) == (failing.id, None)
    assert found["error"]["code"] == "ScoringFailed"
    with site.engine_busy("cancelled callback"):
        cancelled = client.submit("never", then=_kept(site))
        assert cancelled.cancel()
        revoked = client.submit("never", then=_kept(site))
        site.revoke(revoked.id)
        late = client.submit("late", then=_kept(site), deadline=0.01)
    assert late.result(timeout=WAIT_S).outcomes
    with pytest.raises(errors.JobCancelled):
        revoked.result(timeout=WAIT_S)
    eventually(site.is_settled, what="everything acknowledged")
    assert [each["body"][0] for each in _messages(site)] == [[late.id]]


def test_jobs_that_celery_finishes_have_their_callbacks_once(site: Site, client: Client) -> None:
    assert "ok" in site.control("rate_limit", "sentq.score", "500/s")
    try:
        jobs = []
        for text in (f"{CANARY} limited", "fail: limited"):  # An error fails its whole batch.
            jobs.append(client.submit(text, then=_kept(site), then_argument="outcome"))
            _ = list(client.results(jobs, timeout=WAIT_S))
    finally:
        assert "ok" in site.control("rate_limit", "sentq.score", "0")
    eventually(site.is_settled, what="everything acknowledged")
    found = {each["body"][0][0]["job_id"]: each["body"][0][0] for each in _messages(site)}
    outcome = jobs[0].result(timeout=0)
    assert found[jobs[0].id]["outcome"] == outcome.model_dump(mode="json", exclude_unset=True)
    assert found[jobs[1].id]["error"]["code"] == "ScoringFailed"
    assert len(found) == 2


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"expires": "2020-01-01T00:00:00"}, "JobExpired"),
        ({"eta": 1}, None),
        ({"retries": 1}, None),
    ],
    ids=["expired", "scheduled", "retries"],
)
def test_jobs_with_options_of_celery_have_their_callbacks_once(
    site: Site, options: dict[str, Any], code: str | None
) -> None:
    if "eta" in options:
        options = {"eta": (datetime.now(UTC) + timedelta(seconds=1)).isoformat()}
    job_id = str(uuid.uuid4())
    headers = {CALLBACK_HEADER: callback_of_jobs(_kept(site), "outcome", jobs=1), **options}
    body = json.dumps([[[f"{CANARY} with options"]], {}, {}])
    for _ in range(2):
        site.redis.lpush("sentq", raw(message(body, job_id=job_id, headers=headers)))
        eventually(lambda: site.redis.exists(f"celery-task-meta-{job_id}"), what="an end")
        eventually(lambda: not site.redis.llen("sentq") and site.is_settled(), what="settled")
    ((found, *_), *rest) = (each["body"][0] for each in _messages(site))
    assert not rest
    assert (found["error"] or {"code": None})["code"] == code


def test_a_job_for_later_has_its_callback_when_it_is_scored(site: Site, client: Client) -> None:
    job = client.submit(f"{CANARY} later", delay=0.5, then=_kept(site))
    cancelled = client.submit(f"{CANARY} later", delay=0.5, then=_kept(site))
    assert cancelled.cancel()
    assert job.result(timeout=WAIT_S).outcomes
    eventually(lambda: not site.redis.exists("sentq.scheduled"), what="an empty schedule")
    eventually(site.is_settled, what="everything acknowledged")
    assert [each["body"][0] for each in _messages(site)] == [[job.id]]


def test_a_stock_link_keeps_working_with_and_without_a_callback(
    site: Site, client: Client, follower: WorkerProcess
) -> None:
    link, linked = _write(site, "linked")
    outcome = site.score("a text", link=link).get(timeout=WAIT_S)
    assert linked.get(timeout=WAIT_S) == [outcome, "linked"]
    link, linked = _write(site, "both")
    headers = {CALLBACK_HEADER: callback_of_jobs(_kept(site), "id", jobs=1)}
    job = site.score("a text", link=link, headers=headers)
    assert linked.get(timeout=WAIT_S)[1] == "both"
    eventually(site.is_settled, what="everything acknowledged")
    assert [each["body"][0] for each in _messages(site)] == [[job.id]]


def test_a_job_with_a_link_that_fails_has_its_callback(
    site: Site, client: Client, follower: WorkerProcess
) -> None:
    headers = {CALLBACK_HEADER: callback_of_jobs(_kept(site), "id", jobs=1)}
    job = site.score("fail: it", link_error=site.followup("regret"), headers=headers)
    with pytest.raises(Exception, match="the worker failed"):
        job.get(timeout=WAIT_S)
    eventually(site.is_settled, what="everything acknowledged")
    assert [each["body"][0] for each in _messages(site)] == [[job.id]]


def test_a_repeated_submission_has_its_callback_once(site: Site, client: Client) -> None:
    for _ in range(3):
        job = client.submit(f"{CANARY} keyed", key="order 17", then=_kept(site))
        job.result(timeout=WAIT_S)
    assert [each["body"][0] for each in _messages(site)] == [[job.id]]


def test_the_priority_and_the_headers_of_a_callback_are_kept(site: Site, client: Client) -> None:
    signature = _kept(site).set(priority=9, headers={"traceparent": "00-1"})
    client.submit("text", then=signature).result(timeout=WAIT_S)
    ((found),) = _messages(site, f"{KEPT}\x06\x169")
    assert found["headers"]["traceparent"] == "00-1"
    assert found["properties"]["priority"] == 9


def test_a_queue_that_is_no_list_costs_no_outcome_and_is_logged(site: Site, client: Client) -> None:
    site.redis.set(KEPT, "no list")
    try:
        jobs = client.submit_many(["one", "two"], then=_kept(site))
        assert all(each.result(timeout=WAIT_S).outcomes for each in jobs)
    finally:
        site.redis.delete(KEPT)
    eventually(lambda: "were not published" in site.worker.log, what="a line of the log")
    assert client.submit("still alive").result(timeout=WAIT_S).outcomes


def test_the_outcome_stays_encrypted_in_a_callback(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    key = f"a:{base64.b64encode(os.urandom(32)).decode()}"
    settings = {"SENTQ_ENCRYPTION_KEYS": key, "SENTQ_WORKER_ENCRYPT_RESULTS": "true"}
    start_worker(redis_server.url, command=STANDIN, **settings)
    signature = {"task": "store", "args": [], "kwargs": {}, "options": {"queue": KEPT}}
    text = f"{CANARY} secret"
    with Client(broker_url=redis_server.url, encryption_keys=[key]) as client:
        job = client.submit(text, then=signature, then_argument="outcome")
        assert has_hash_scores(job.result(timeout=WAIT_S).model_dump(), text)
    with redis_server.client() as server:
        (found,) = cast("list[bytes]", server.lrange(KEPT, 0, -1))
        (argument,), _, _ = json.loads(base64.b64decode(json.loads(found)["body"]))
        assert list(argument["outcome"]) == ["sealed"]
        assert not any(CANARY.encode() in (server.dump(each) or b"") for each in server.keys("*"))
