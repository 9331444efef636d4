"""Celery's features work for sentq jobs, with a stock Celery client and a stock Celery worker.

docs/celery.md lists Celery's features; each row of its tables names a test, most of them here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import ChordError, TaskRevokedError
from celery.result import ResultSet

from sentq import errors
from tests.support.celery.events import Events
from tests.support.celery.site import NAME, Site, finish_with_successor, run_site
from tests.support.processes import WorkerProcess, eventually
from tests.support.roles.users import without_user
from tests.support.workers.gated import batches, release, scored, signalled
from tests.support.workers.standin import has_hash_scores

#: Every text contains it; no log, event or inspect reply may.
CANARY = "CANARY9c41"

WAIT_S = 30

ONCE = {"task-received": 1, "task-started": 1, "task-succeeded": 1}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site"), "-E") as site:
        yield site
        eventually(site.is_settled, what="everything acknowledged")
        assert CANARY not in site.worker.log


@pytest.fixture(scope="module")
def events(site: Site) -> Iterator[Events]:
    with Events(site.inspector) as events:
        yield events
        assert CANARY not in repr(events.all)


def _text(about: str) -> str:
    return f"{CANARY} {about} {uuid.uuid4()}"


# --- Results ---------------------------------------------------------------------------------


def test_a_stock_result_reads_an_outcome(site: Site) -> None:
    text = _text("read")
    job = site.score(text, text)
    assert has_hash_scores(job.get(timeout=WAIT_S), text, text)
    assert (job.status, job.successful(), job.ready()) == ("SUCCESS", True, True)
    again = site.stock.AsyncResult(job.id)
    assert has_hash_scores(again.get(timeout=WAIT_S), text, text)
    again.forget()
    assert again.status == "PENDING"


def test_a_stock_result_set_reads_many_at_once(site: Site) -> None:
    texts = [_text(f"set {number}") for number in range(40)]
    results = ResultSet([site.score(text) for text in texts], app=site.stock)
    outcomes = results.join_native(timeout=WAIT_S)
    assert all(map(has_hash_scores, outcomes, texts))
    assert sorted(job_id for job_id, _ in results.iter_native(timeout=WAIT_S)) == sorted(
        job.id for job in results
    )


def test_a_job_with_ignore_result_stores_no_result(site: Site) -> None:
    plain = site.score(plainly := _text("ignored"), ignore_result=True)
    later = site.score(unusual := _text("ignored later"), ignore_result=True, countdown=0.01)
    for text in (plainly, unusual):
        eventually(lambda text=text: site.was_scored(text))  # type: ignore[misc]
    eventually(site.is_settled)
    keys = [f"celery-task-meta-{job.id}" for job in (plain, later)]
    assert site.redis.exists(*keys) == 0


# --- Canvas ----------------------------------------------------------------------------------


def test_a_chain_passes_the_outcome_to_a_stock_worker(site: Site, follower: WorkerProcess) -> None:
    texts = [_text("chain"), _text("chain")]
    chained = chain(site.signature(*texts), site.followup("save"), app=site.stock).apply_async()
    assert chained.get(timeout=WAIT_S) == 2
    assert has_hash_scores(chained.parent.get(timeout=WAIT_S), *texts)


def test_a_chain_passes_the_result_of_a_stock_worker_to_a_job(
    site: Site, follower: WorkerProcess
) -> None:
    text = _text("found")
    score = site.signature(args=())
    chained = chain(site.followup("write", text), score, app=site.stock).apply_async()
    assert has_hash_scores(chained.get(timeout=WAIT_S), text)


def test_a_chained_task_without_a_queue_goes_to_celerys_default_queue(site: Site) -> None:
    follows = site.stock.signature("followup.save")  # The signature names no queue.
    chain(site.signature(_text("routed")), follows, app=site.stock).apply_async()
    eventually(lambda: site.redis.llen("celery") or site.redis.xlen("sentq.dead"))
    taken, dead_letter = site.pop("celery"), site.pop_dead_letter()
    assert dead_letter is None
    assert taken["headers"]["task"] == "followup.save"


def test_a_group_returns_its_outcomes_in_order(site: Site) -> None:
    texts = [_text(f"group {number}") for number in range(20)]
    together = group((site.signature(text) for text in texts), app=site.stock).apply_async()
    assert all(map(has_hash_scores, together.get(timeout=WAIT_S), texts))
    assert together.completed_count() == len(texts)


def test_a_chord_passes_all_outcomes_to_its_body(site: Site, follower: WorkerProcess) -> None:
    header = [site.signature(_text("chord"), _text("chord")) for _ in range(5)]
    body = chord(header, site.followup("collect"), app=site.stock)()
    assert body.get(timeout=WAIT_S) == 10


def test_a_chord_with_an_invalid_job_fails_its_body(site: Site, follower: WorkerProcess) -> None:
    header = [site.signature(_text("chord")), site.signature(*[_text("many")] * 257)]
    body = chord(header, site.followup("collect"), app=site.stock)()
    failed = body.get(timeout=WAIT_S, propagate=False)
    assert isinstance(failed, ChordError)
    assert "TooManyTexts" in str(failed)


def test_a_link_is_called_with_the_outcome(site: Site, follower: WorkerProcess) -> None:
    linked = site.stock.AsyncResult(str(uuid.uuid4()))
    link = site.followup("save").set(task_id=linked.id)
    job = site.score(*(texts := [_text("link")] * 3), link=link)
    assert linked.get(timeout=WAIT_S) == 3
    assert has_hash_scores(job.get(timeout=WAIT_S), *texts)


def test_an_error_link_is_called_for_a_failed_job(site: Site, follower: WorkerProcess) -> None:
    linked = site.stock.AsyncResult(str(uuid.uuid4()))
    job = site.score(
        *[_text("many")] * 257, link_error=site.followup("regret").set(task_id=linked.id)
    )
    with pytest.raises(errors.TooManyTexts):
        job.get(timeout=WAIT_S)
    assert linked.get(timeout=WAIT_S) == f"sorry for {job.id}"


# --- Time ------------------------------------------------------------------------------------


def test_a_countdown_delays_only_its_own_job(site: Site) -> None:
    sent_at_s, later_text = time.time(), _text("later")
    later = site.score(later_text, countdown=1)
    eventually(lambda: [job["request"]["id"] for job in site.inspect("scheduled")] == [later.id])
    now = site.score(now_text := _text("now"))
    assert has_hash_scores(now.get(timeout=WAIT_S), now_text)
    assert later.status == "PENDING"
    assert has_hash_scores(later.get(timeout=WAIT_S), later_text)
    assert scored(site.redis)[later_text] - sent_at_s >= 1


def test_an_expired_job_is_never_scored(site: Site) -> None:
    job = site.score(text := _text("expired"), expires=-1)
    with pytest.raises(TaskRevokedError, match="expired"):
        job.get(timeout=WAIT_S)
    in_time = site.score(kept := _text("in time"), expires=600)
    assert has_hash_scores(in_time.get(timeout=WAIT_S), kept)
    assert not site.was_scored(text)


def test_a_job_that_expires_while_it_waits_for_the_engine_is_not_scored(site: Site) -> None:
    with site.engine_busy("expiry"):
        job = site.score(text := _text("too late"), expires=0.3)
        deadline = time.monotonic() + 0.5
        eventually(lambda: time.monotonic() > deadline)
    with suppress(TaskRevokedError):
        job.get(timeout=WAIT_S)
    assert (job.status, site.was_scored(text)) == ("REVOKED", False)


def test_time_limits_are_accepted_but_not_enforced_as_in_every_solo_pool(site: Site) -> None:
    job = site.score(text := _text("limit"), time_limit=1e-6, soft_time_limit=1e-6)
    assert has_hash_scores(job.get(timeout=WAIT_S), text)


# --- Revoking --------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"countdown": 0.05}], ids=["plain", "celery's own path"])
def test_a_job_revoked_before_it_is_queued_is_not_scored(
    site: Site, options: dict[str, Any]
) -> None:
    job_id = str(uuid.uuid4())
    site.revoke(job_id)
    job = site.score(text := _text("never"), task_id=job_id, **options)
    with pytest.raises(TaskRevokedError):
        job.get(timeout=WAIT_S)
    assert (job.status, site.was_scored(text)) == ("REVOKED", False)


def test_a_job_revoked_while_it_is_queued_is_not_scored(site: Site, events: Events) -> None:
    with site.engine_busy("queued"):
        job, other = site.score(text := _text("revoked")), site.score(kept := _text("kept"))
        eventually(lambda: len(site.inspect("reserved")) == 2)
        site.revoke(job.id)
    with pytest.raises(TaskRevokedError):
        job.get(timeout=WAIT_S)
    assert has_hash_scores(other.get(timeout=WAIT_S), kept)
    assert (job.status, site.was_scored(text)) == ("REVOKED", False)
    eventually(lambda: events.of(job.id) == {"task-received": 1, "task-revoked": 1})


def test_a_job_revoked_while_it_is_scheduled_is_not_scored(site: Site) -> None:
    job = site.score(text := _text("scheduled"), countdown=0.5)
    site.revoke(job.id)
    with pytest.raises(TaskRevokedError):
        job.get(timeout=WAIT_S)
    assert not site.was_scored(text)


def test_a_job_revoked_while_it_is_scored_still_returns_its_outcome(site: Site) -> None:
    with site.engine_busy("late") as job:
        eventually(lambda: job.status == "STARTED")
        site.inspector.control.revoke(job.id, terminate=True)
        eventually(lambda: job.id in site.inspect("revoked"))
    assert has_hash_scores(job.get(timeout=WAIT_S), "hold:late")


def test_jobs_are_revoked_by_stamped_headers(site: Site) -> None:
    stamped = site.signature(text := _text("stamped"))
    stamped.stamp(tenant="acme")
    assert has_hash_scores(stamped.apply_async().get(timeout=WAIT_S), text)
    assert "ok" in site.control("revoke_by_stamped_headers", {"tenant": ["evil"]})
    unwanted = site.signature(never := _text("unwanted"))
    unwanted.stamp(tenant="evil")
    with pytest.raises(TaskRevokedError):
        unwanted.apply_async().get(timeout=WAIT_S)
    assert not site.was_scored(never)


# --- Delivery --------------------------------------------------------------------------------


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (3, 4)])
def test_a_retried_job_reports_its_number_of_attempts(
    site: Site, retries: int, attempts: int
) -> None:
    job = site.score(text := _text("retried"), retries=retries)
    outcome = job.get(timeout=WAIT_S)
    assert has_hash_scores(outcome, text)
    assert outcome["attempts"] == attempts


def test_a_duplicate_delivery_of_a_job_in_flight_is_scored_once(site: Site) -> None:
    with site.engine_busy("again") as blocking:
        first = site.score("twice here")
        for text, job in (("hold:again", blocking), ("twice here", first)):
            site.score(text, task_id=job.id)
        eventually(lambda: not site.redis.llen("sentq"), what="four messages taken")
    first.get(timeout=WAIT_S)
    blocking.get(timeout=WAIT_S)
    eventually(site.is_settled)
    texts = [text for batch in batches(site.redis) for text in batch]
    assert (texts.count("twice here"), texts.count("hold:again")) == (1, 1)


@pytest.mark.parametrize("options", [{}, {"countdown": 0.01}], ids=["plain", "celery's own path"])
def test_a_redelivered_job_is_scored_and_reports_two_attempts(
    site: Site, options: dict[str, Any]
) -> None:
    job = site.score(text := _text("again"), queue="tests.moved", **options)
    message = site.pop("tests.moved")
    message["headers"]["redelivered"] = True
    message["properties"]["delivery_info"] |= {"redelivered": True, "routing_key": "sentq"}
    site.redis.rpush("sentq", json.dumps(message))
    outcome = job.get(timeout=WAIT_S)
    assert has_hash_scores(outcome, text)
    assert outcome["attempts"] == 2


def test_jobs_are_taken_in_order_of_priority(site: Site) -> None:
    """Kombu's Redis transport has a list for each of the priorities 0, 3, 6 and 9; 0 is first."""
    site.control("cancel_consumer", "sentq")
    texts = {priority: _text(f"priority {priority}") for priority in (9, 4, 0, 7, 2, 3, 6, 5, 1, 8)}
    jobs = [site.score(text, priority=priority) for priority, text in texts.items()]
    bulk = site.score(last := _text("bulk"), queue="sentq.bulk")
    bulk.get(timeout=WAIT_S)  # The other queue is still consumed.
    assert {job.status for job in jobs} == {"PENDING"}
    site.control("add_consumer", "sentq")
    for job in jobs:
        job.get(timeout=WAIT_S)
    priorities = {text: priority for priority, text in texts.items()}
    order = [priorities[text] // 3 for text in scored(site.redis) if text in priorities]
    assert order == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert site.was_scored(last)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A worker that takes one job at a time, which shows the order of taking; without `-E`."""
    folder = tmp_path_factory.mktemp("narrow")
    with run_site(folder, SENTQ_WORKER_PREFETCH_JOBS="1") as site:
        yield site


@pytest.mark.parametrize(
    "commands",
    [
        (),
        ("cancel_consumer", "add_consumer"),
    ],
    ids=["as configured", "cancelled and added again"],
)
def test_single_jobs_are_taken_before_bulk_jobs(narrow: Site, commands: tuple[str, ...]) -> None:
    for command in commands:
        narrow.control(command, "sentq")
    with narrow.engine_busy(f"order {commands}"):
        bulk = [narrow.score(_text("bulk"), queue="sentq.bulk") for _ in range(2)]
        single = narrow.score(text := _text("single"))
    for job in (single, *bulk):
        job.get(timeout=WAIT_S)
    assert list(scored(narrow.redis)).index(text) == len(scored(narrow.redis)) - 3


@pytest.mark.parametrize("compression", ["zlib", "gzip", "bzip2", "lzma"])
def test_compressed_jobs_are_scored(site: Site, compression: str) -> None:
    job = site.score(text := _text(compression), compression=compression)
    assert has_hash_scores(job.get(timeout=WAIT_S), text)


def test_other_options_of_a_sender_have_no_effect(site: Site) -> None:
    job = site.score(
        text := _text("options"),
        headers={"x-trace": "1", "x-user": "a user"},
        argsrepr=CANARY,
        delivery_mode=1,
        reply_to="unknown",
        correlation_id="x",
        shadow="a.name",
    )
    assert has_hash_scores(job.get(timeout=WAIT_S), text)


def test_a_message_of_celerys_protocol_1_is_scored(site: Site) -> None:
    text = _text("protocol 1")
    with Celery("old", broker=site.server.url, set_as_current=False) as old:
        old.conf.task_protocol = 1
        sent = old.send_task("sentq.score", args=[[text]], queue="sentq", argsrepr="hidden")
    assert has_hash_scores(site.stock.AsyncResult(sent.id).get(timeout=WAIT_S), text)


@pytest.mark.parametrize("serializer", ["pickle", "yaml"])
def test_a_job_that_is_not_json_is_dead_lettered_and_its_client_gets_the_error(
    site: Site, serializer: str
) -> None:
    job = site.score(_text("pickled"), serializer=serializer)
    with pytest.raises(errors.InvalidInput, match="ContentDisallowed"):
        job.get(timeout=WAIT_S)
    dead_letter = eventually(site.pop_dead_letter, what="a dead letter")
    assert dead_letter is not None
    assert dead_letter.reason == "ContentDisallowed while the message was read"
    found = (dead_letter.code, dead_letter.job_id, dead_letter.queue)
    assert found == ("malformed", job.id, "sentq")


# --- Inspection, control and events ----------------------------------------------------------


def test_a_busy_worker_answers_inspect_commands(site: Site) -> None:
    with site.engine_busy("inspect") as active:
        waiting = site.score(_text("waiting"))
        assert site.inspect("ping") == {"ok": "pong"}
        assert [job["id"] for job in site.inspect("active")] == [active.id]
        eventually(lambda: [job["id"] for job in site.inspect("reserved")] == [waiting.id])
        found = site.inspect("query_task", [active.id, waiting.id])
        assert {job_id: state for job_id, (state, _) in found.items()} == {
            active.id: "active",
            waiting.id: "reserved",
        }
        assert site.inspect("registered") == ["sentq.score"]
        assert {queue["name"] for queue in site.inspect("active_queues")} == {"sentq", "sentq.bulk"}
        shown = repr([site.inspect("active"), site.inspect("reserved"), found])
    assert "<1 text>" in shown
    assert CANARY not in shown
    waiting.get(timeout=WAIT_S)


def test_a_worker_answers_ping_while_a_job_on_celerys_own_path_is_scored(site: Site) -> None:
    job = site.score("hold:unusual", retries=1)
    eventually(lambda: site.was_scored("hold:unusual"))
    try:
        inspect = site.inspector.control.inspect(destination=[NAME], timeout=10)
        assert inspect.ping() == {NAME: {"ok": "pong"}}
    finally:
        release(site.redis, "unusual")
        job.get(timeout=WAIT_S)


@pytest.mark.slow
def test_heartbeats_count_active_jobs(site: Site) -> None:
    with Events(site.inspector) as events:
        with site.engine_busy("heartbeat"):
            eventually(lambda: _active(events) == 1, what="a heartbeat of a busy worker")
        eventually(lambda: _active(events) == 0, what="a heartbeat of an idle worker")


def _active(events: Events) -> int | None:
    beats = [event["active"] for event in events.all if "active" in event]
    return beats[-1] if beats else None


def test_statistics_count_every_job(site: Site) -> None:
    before = site.inspect("stats")["total"].get("sentq.score", 0)
    plain, unusual = (
        [site.score(_text("count"), **options) for _ in range(5)]
        for options in ({}, {"retries": 1})
    )
    for job in (*plain, *unusual):
        job.get(timeout=WAIT_S)
    assert site.inspect("stats")["total"]["sentq.score"] == before + 10


def test_celery_inspect_reaches_the_worker_from_the_command_line(site: Site) -> None:
    celery = [sys.executable, "-m", "celery", "--broker", site.server.url_of("flower")]
    asked = [*celery, "inspect", "ping", "--json", "--timeout", "10", "--destination", NAME]
    printed = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    assert json.loads(printed) == {NAME: {"ok": "pong"}}


def test_a_rate_limit_is_honoured(site: Site) -> None:
    limit_per_s = 20
    assert "ok" in site.control("rate_limit", "sentq.score", f"{limit_per_s}/s")
    try:
        texts = [_text(f"limited {number}") for number in range(6)]
        limited = [site.score(text) for text in texts]
        for job in limited:
            job.get(timeout=WAIT_S)
    finally:
        assert "ok" in site.control("rate_limit", "sentq.score", "0")
    began = [scored(site.redis)[text] for text in texts]
    assert max(began) - min(began) > 0.9 * (len(texts) - 1) / limit_per_s
    assert signalled(site.redis, limited[0].id), "while limited, jobs take Celery's own path"
    free = site.score(_text("free"))
    free.get(timeout=WAIT_S)
    assert not signalled(site.redis, free.id)


@pytest.mark.parametrize(
    "options",
    [{}, {"countdown": 0.01}, {"expires": 60}, {"retries": 1}, {"compression": "gzip"}],
    ids=["plain", "countdown", "expires", "retries", "compression"],
)
def test_each_event_of_a_job_is_sent_once(
    site: Site, events: Events, options: dict[str, Any]
) -> None:
    # A producer may not send events: another user does.
    url = without_user(site.server.url)
    with Celery("sender", broker=url, set_as_current=False) as sender:
        sender.conf.task_send_sent_event = True
        jobs = [
            sender.send_task("sentq.score", args=[[_text("count")]], queue="sentq", **options).id
            for _ in range(50)
        ]
    expected = ONCE | {"task-sent": 1}
    # The `task-sent` event is the sender's, and its arguments are the sender's choice.
    eventually(lambda: all(events.of(job) == expected for job in jobs), what="all events")
    for event in events.all:
        if event["type"] == "task-sent":
            event.pop("args", None)


def test_events_can_be_enabled_and_disabled_while_a_worker_runs(narrow: Site) -> None:
    with Events(narrow.inspector) as events:
        silent = []
        for _ in range(2):
            silent.append(narrow.score(_text("silent")))
            silent[-1].get(timeout=WAIT_S)
            assert "ok" in narrow.control("enable_events")
            announced = narrow.score(_text("announced"))
            eventually(lambda job=announced: events.of(job.id) == ONCE)  # type: ignore[misc]
            assert "ok" in narrow.control("disable_events")
        assert [events.of(job.id) for job in silent] == [{}, {}]


def test_an_invalid_job_sends_a_task_failed_event(site: Site, events: Events) -> None:
    refused = site.score(*[_text("many")] * 257)
    with pytest.raises(errors.TooManyTexts):
        refused.get(timeout=WAIT_S)
    eventually(lambda: events.of(refused.id)["task-failed"] == 1)


def test_signals_are_sent_on_celerys_own_path_only(site: Site) -> None:
    plain = site.score(_text("no signals"))
    unusual = site.score(_text("signals"), retries=1)
    failed = site.score(*[_text("many")] * 257, retries=1)
    for job in (plain, unusual, failed):
        job.get(timeout=WAIT_S, propagate=False)
    expected = ["received", "prerun", "success", "postrun"]
    eventually(lambda: signalled(site.redis, unusual.id) == [f"task_{name}" for name in expected])
    expected[2] = "failure"
    eventually(lambda: signalled(site.redis, failed.id) == [f"task_{name}" for name in expected])
    assert signalled(site.redis, plain.id) == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"retries": 1},
    ],
    ids=["plain", "celery's own path"],
)
def test_the_error_of_a_failing_engine_does_not_quote_the_text(
    site: Site, options: dict[str, Any]
) -> None:
    secret = uuid.uuid4().hex
    job = site.score(f"fail:{secret}", **options)
    error = job.get(timeout=WAIT_S, propagate=False)
    assert job.status == "FAILURE"
    assert secret not in repr(error)
    assert secret not in site.worker.log


@pytest.mark.slow
def test_control_shutdown_finishes_the_batch_and_loses_no_job(tmp_path: Path) -> None:
    with run_site(tmp_path, SENTQ_WORKER_PREFETCH_JOBS="8") as site:
        with site.engine_busy("shutdown") as first:
            jobs = [first, *(site.score(_text(f"job {number}")) for number in range(20))]
            eventually(lambda: site.redis.hlen("unacked") == 8)
            site.inspector.control.shutdown(destination=[NAME])
            eventually(lambda: "Got shutdown from remote" in site.worker.log)
        assert site.worker.process.wait(WAIT_S) == 0
        assert site.is_settled()
        answered = [job.status for job in jobs].count("SUCCESS")
        assert (answered, site.redis.llen("sentq")) == (1, 20)
        finish_with_successor(site, tmp_path, jobs)


def test_the_feature_table_names_existing_tests() -> None:
    root = Path(__file__).parents[3]
    document = "".join((root / "docs" / name).read_text() for name in ("celery.md", "delivery.md"))
    rows = [line for line in document.splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    source = "\n".join(file.read_text() for file in (root / "tests").rglob("test_*.py"))
    assert len(named) > 30
    assert named - set(re.findall(r"^def (test_\w+)", source, re.MULTILINE)) == set()
