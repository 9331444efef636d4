"""Jobs with an eta wait in Redis: they stop no worker, survive it, and have limits of their own."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import cast

import pytest
import redis
from celery import chord
from celery.exceptions import ChordError, TaskRevokedError

from benchmarks.interactive import score_interactive_jobs
from sentq import Client, errors
from tests.corpus.messages import message, protocol1, raw
from tests.support.celery.site import Site, run_site, start_gated, stock_app
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.workers.gated import scored
from tests.support.workers.leased import executed
from tests.support.workers.other_app import QUEUE
from tests.support.workers.standin import has_hash_scores

DAY_S = 24 * 60 * 60
WAIT_S = 20
CLOCK_OFFSET_S = 36_000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    yield shared
    shared.redis.delete("sentq.scheduled", "sentq.scheduled.messages", "sentq.dead")


def _scheduled(server: redis.Redis) -> list[str]:
    names = cast("list[bytes]", server.zrange("sentq.scheduled", 0, -1))
    return [name.decode() for name in names]


def _in_s(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + seconds))


@pytest.mark.slow
def test_jobs_with_an_eta_do_not_stop_the_next_job(site: Site) -> None:
    far = [site.score("x" * 99_000, countdown=20 * DAY_S)]
    far += [site.score("x" * 9_000, countdown=DAY_S) for _ in range(11)]
    with Client(broker_url=site.server.url) as client:
        latencies = score_interactive_jobs(client, count=200, interval_s=0.005)
        assert client.service_status().scheduled_jobs == 12
    print(f"\nlongest of 200 interactive jobs: {latencies.longest_s:.3f} s")  # noqa: T201
    assert sorted(_scheduled(site.redis)) == sorted(job.id for job in far)
    eventually(site.is_settled)
    assert {job.status for job in far} == {"PENDING"}


@pytest.mark.slow
def test_scheduled_jobs_survive_a_killed_worker(tmp_path: Path) -> None:
    with run_site(tmp_path, exit_code=-signal.SIGKILL) as site:
        far, near = site.score("far", countdown=20 * DAY_S), site.score("near", countdown=3)
        eventually(lambda: len(_scheduled(site.redis)) == 2, what="two scheduled jobs")
        site.worker.process.kill()
        site.worker.process.wait()
        assert site.is_settled()
        successor = start_gated(tmp_path, site.server.url)
        assert has_hash_scores(near.get(timeout=30), "near")
        assert near.result["attempts"] == 1
        assert _scheduled(site.redis) == [far.id]
        assert successor.stop() == 0
        assert _scheduled(site.redis) == [far.id]


@pytest.mark.slow
def test_due_jobs_run_at_their_time_and_in_order(site: Site) -> None:
    began_s = time.time()
    texts = {f"due {n} {uuid.uuid4()}": 1 + n * 0.2 for n in (3, 1, 2, 0)}
    jobs = {text: site.score(text, countdown=in_s) for text, in_s in texts.items()}
    for text, job in jobs.items():
        assert has_hash_scores(job.get(timeout=WAIT_S), text)
    at_s = {text: scored(site.redis)[text] - began_s for text in texts}
    print("\nlate by", {round(at_s[text] - texts[text], 3) for text in texts})  # noqa: T201
    assert all(at_s[text] >= texts[text] for text in texts)
    assert sorted(at_s, key=at_s.__getitem__) == sorted(texts)
    eventually(lambda: not site.redis.exists("sentq.scheduled", "sentq.scheduled.messages"))


@pytest.mark.parametrize("eta", ["body", "header"])
def test_an_eta_of_protocol_1_is_scheduled_too(site: Site, eta: str) -> None:
    job_id, at = str(uuid.uuid4()), _in_s(DAY_S)
    whole = protocol1(id=job_id, eta=at)
    if eta == "header":
        whole = message(headers={"eta": at}, job_id=job_id)
        whole["body"] = protocol1(id=job_id, eta=None)["body"]
    site.redis.lpush("sentq", raw(whole))
    eventually(lambda: _scheduled(site.redis) == [job_id])
    eventually(site.is_settled)


def test_inspect_shows_scheduled_jobs_without_their_texts(site: Site) -> None:
    job = site.score("CANARY", countdown=DAY_S)
    eventually(lambda: _scheduled(site.redis) == [job.id])
    (shown,) = site.inspect("scheduled")
    assert shown["request"]["id"] == job.id
    assert "CANARY" not in repr(shown)
    in_s = datetime.fromisoformat(shown["eta"]).timestamp() - time.time()
    assert DAY_S - 60 < in_s <= DAY_S


# --- Cancelled jobs --------------------------------------------------------------------------


def test_a_revoked_job_leaves_the_schedule_at_once(site: Site) -> None:
    text = f"revoked {uuid.uuid4()}"
    job, kept = site.score(text, countdown=DAY_S), site.score("kept", countdown=DAY_S)
    eventually(lambda: len(_scheduled(site.redis)) == 2)
    site.revoke(job.id)
    with pytest.raises(TaskRevokedError):
        job.get(timeout=WAIT_S)
    eventually(lambda: _scheduled(site.redis) == [kept.id])
    eventually(site.is_settled)
    assert not site.was_scored(text)


def test_many_cancelled_jobs_leave_the_schedule_as_redis_tells_of_them(site: Site) -> None:
    jobs = [site.score(f"cancelled {n}", countdown=DAY_S) for n in range(100)]
    kept = site.score("kept", countdown=DAY_S)
    eventually(lambda: len(_scheduled(site.redis)) == 101)
    site.redis.zadd("sentq.cancelled", {job.id: time.time() for job in jobs})
    eventually(lambda: _scheduled(site.redis) == [kept.id])
    eventually(site.is_settled)
    assert jobs[-1].status == "REVOKED"


@pytest.mark.slow
def test_a_job_that_was_cancelled_while_no_worker_ran_is_not_scored(tmp_path: Path) -> None:
    with run_site(tmp_path) as site:
        job = site.score("cancelled", countdown=DAY_S)
        eventually(lambda: _scheduled(site.redis) == [job.id])
        assert site.worker.stop() == 0
        site.redis.zadd("sentq.cancelled", {job.id: time.time()})
        successor = start_gated(tmp_path, site.server.url)
        eventually(lambda: job.status == "REVOKED")
        assert _scheduled(site.redis) == []
        assert successor.stop() == 0
        assert not site.was_scored("cancelled")


def test_a_job_that_has_expired_is_not_scheduled(site: Site) -> None:
    job = site.score("expired", countdown=DAY_S, expires=-1)
    with pytest.raises(TaskRevokedError):
        job.get(timeout=WAIT_S)
    assert _scheduled(site.redis) == []


@pytest.mark.slow
def test_a_job_that_expires_before_its_eta_is_not_scored(site: Site) -> None:
    text = f"expires {uuid.uuid4()}"
    job = site.score(text, countdown=1.5, expires=1)
    with pytest.raises(TaskRevokedError):
        job.get(timeout=WAIT_S)
    assert not site.was_scored(text)


# --- Limits ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A worker with small limits; two jobs are scheduled."""
    with run_site(
        tmp_path_factory.mktemp("limited"),
        SENTQ_WORKER_MAX_SCHEDULED_JOBS="2",
        SENTQ_WORKER_MAX_ETA_S=str(DAY_S),
    ) as site:
        for _ in range(2):
            site.score("scheduled", countdown=DAY_S / 2)
        eventually(lambda: len(_scheduled(site.redis)) == 2)
        yield site
        assert len(_scheduled(site.redis)) == 2, "the others are still there"


@pytest.mark.parametrize(
    ("countdown_s", "error", "limit"),
    [
        (DAY_S / 2, errors.ScheduleFull, "2 jobs are scheduled: the limit"),
        (DAY_S + 60, errors.EtaTooFar, "the limit is 86,400 s"),
        (10_000 * DAY_S, errors.EtaTooFar, "the limit is 86,400 s"),
    ],
)
def test_a_job_beyond_a_limit_fails_with_an_error_that_names_it(
    limited: Site, countdown_s: float, error: type[Exception], limit: str
) -> None:
    link = limited.followup("regret")
    job = limited.score(text := f"refused {uuid.uuid4()}", countdown=countdown_s, link_error=link)
    with pytest.raises(error, match=limit):
        job.get(timeout=WAIT_S)
    with (
        Client(broker_url=limited.server.url) as client,
        pytest.raises(errors.JobFailed) as failure,
    ):
        client.job(job.id).result(timeout=WAIT_S)
    assert failure.value.code == error.__name__
    assert not limited.was_scored(text)
    eventually(lambda: limited.pop(QUEUE), what="the error callback")
    eventually(limited.is_settled)
    assert not limited.redis.exists("sentq.dead")
    after = limited.score("after")
    assert has_hash_scores(after.get(timeout=WAIT_S), "after")


def test_a_chord_fails_if_one_of_its_jobs_is_refused(limited: Site) -> None:
    header = [limited.signature("a"), limited.signature("b", countdown=2 * DAY_S)]
    body = chord(header, limited.followup("collect"), app=limited.stock)()
    with pytest.raises((ChordError, errors.EtaTooFar), match="the limit is 86,400 s"):
        body.get(timeout=WAIT_S)


@pytest.mark.slow
def test_the_bytes_of_scheduled_jobs_have_a_limit(tmp_path: Path) -> None:
    with run_site(tmp_path, SENTQ_WORKER_MAX_SCHEDULED_BYTES=str(2 * 1024 * 1024)) as site:
        large = ["x" * 95_000] * 9
        first = site.score(*large, countdown=DAY_S)
        eventually(lambda: _scheduled(site.redis) == [first.id])
        with pytest.raises(errors.ScheduleFull, match="the limit is 2,097,152 bytes"):
            site.score(*large, countdown=DAY_S).get(timeout=WAIT_S)
        small = site.score("x", countdown=DAY_S)
        eventually(lambda: len(_scheduled(site.redis)) == 2)
        site.revoke(first.id)
        eventually(lambda: _scheduled(site.redis) == [small.id])
        again = site.score(*large, countdown=DAY_S)
        eventually(lambda: again.id in _scheduled(site.redis))


# --- Clocks ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("offset_s", [-CLOCK_OFFSET_S, CLOCK_OFFSET_S])
def test_a_worker_with_a_wrong_clock_runs_jobs_when_they_are_due(
    redis_server: RedisProcess, tmp_path: Path, offset_s: int
) -> None:
    environment = {
        "SENTQ_BROKER_URL": redis_server.url,
        "EXECUTED_URL": redis_server.url,
        "CLOCK_OFFSET_S": str(offset_s),
    }
    worker = WorkerProcess(tmp_path, environment, ("tests.support.workers.leased",))
    with redis_server.client() as server, stock_app(redis_server.url) as stock:
        try:
            worker.wait_until_ready()
            due_s = time.time() + 3
            job = stock.send_task("sentq.score", args=[["later"]], queue="sentq", countdown=3)
            eventually(lambda: executed(server) or _scheduled(server) == [job.id])
            eventually(lambda: executed(server) == ["later"])
            assert time.time() >= due_s
            assert has_hash_scores(job.get(timeout=WAIT_S), "later")
        finally:
            assert worker.stop() == 0


def test_a_message_that_returns_before_its_eta_is_scheduled_again(site: Site) -> None:
    job = site.score("again", countdown=DAY_S)
    eventually(lambda: _scheduled(site.redis) == [job.id])
    site.redis.zadd("sentq.scheduled", {job.id: 1})
    eventually(lambda: (site.redis.zscore("sentq.scheduled", job.id) or 0) > 1)
    eventually(site.is_settled)


@pytest.mark.slow
def test_a_job_that_redis_does_not_let_a_worker_move_still_runs_when_it_is_due(
    tmp_path: Path,
) -> None:
    with run_site(tmp_path) as site:
        site.redis.execute_command("ACL", "SETUSER", "default", "-zcount")
        due_s = time.time() + 1
        job = site.score("later", countdown=1)
        assert has_hash_scores(job.get(timeout=WAIT_S), "later")
        assert scored(site.redis)["later"] >= due_s
        assert "Redis refuses to schedule a job" in site.worker.log
        eventually(site.is_settled)
