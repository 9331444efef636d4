"""A sender cannot have a worker publish, by `then`, what `follow_queues` and `follow_tasks` do not
allow; and no header of a callback harms a worker or other jobs."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from sentq import Client, errors
from sentq.contract import CALLBACK_HEADER
from sentq.wire.dead_letters import DeadLetter
from tests.corpus.messages import message, raw
from tests.support.celery.site import Site, run_site
from tests.support.processes import eventually

WAIT_S = 20
ALLOWED = "kept"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    allowed: Any = {
        "SENTQ_WORKER_FOLLOW_QUEUES": ALLOWED,
        "SENTQ_WORKER_FOLLOW_TASKS": "store",
    }
    with run_site(tmp_path_factory.mktemp("site"), **allowed) as site:
        yield site


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[Client]:
    with Client(broker_url=site.server.url_of("producer")) as client:
        yield client


def _signature(task: str = "store", **options: Any) -> Any:
    return Celery("shop", set_as_current=False).signature(task).set(**{"queue": ALLOWED, **options})


def _next_dead_letter(site: Site) -> DeadLetter:
    dead_letter = eventually(site.pop_dead_letter, what="a dead letter")
    assert dead_letter is not None
    return dead_letter


REFUSED = {
    "a queue": _signature(queue="CANARY"),
    "a queue of sentq": _signature(queue="sentq"),
    "the default queue": _signature(queue=None),
    "a task": _signature("CANARY.task"),
    "a job": _signature("sentq.score"),
    "a link": _signature(link=[_signature(queue="CANARY")]),
    "an error link": _signature(link_error=[_signature("CANARY.task")]),
    "a chain": _signature(chain=[_signature(queue="CANARY")]),
    "a chord": _signature(chord=_signature(queue="CANARY")),
}


@pytest.mark.parametrize("then", REFUSED.values(), ids=REFUSED)
def test_what_the_settings_do_not_allow_is_not_published(
    site: Site, client: Client, then: Any
) -> None:
    job = client.submit("a text", then=then)
    with pytest.raises(errors.JobFailed, match=r"follow_(queues|tasks)") as error:
        job.result(timeout=WAIT_S)
    assert error.value.code == "LinkRefused"
    dead_letter = _next_dead_letter(site)
    assert (dead_letter.job_id, dead_letter.code) == (job.id, "link_refused")
    assert not site.was_scored("a text")
    assert not site.redis.exists("CANARY", "sentq", "celery", ALLOWED)
    eventually(site.is_settled)
    assert "CANARY" not in dead_letter.reason + str(error.value) + site.worker.log


#: Headers that a sender without the client can write.
FORGED: dict[str, object] = {
    "a number": 5,
    "a list": [],
    "no JSON": "{",
    "no signature": "[]",
    "arguments of another type": '{"task": "store", "args": {"a": 1}}',
    "a queue of Celery's": '{"task": "store", "options": {"queue": "unacked"}}',
    "a key of sentq": '{"task": "store", "options": {"queue": "sentq-key-1"}}',
    "an invalid id": '{"task": "store", "options": {"queue": "kept", "task_id": ""}}',
    "a group": '{"task": "celery.group", "kwargs": {"tasks": []}, "subtask_type": "group"}',
    "a task of Celery's own": '{"task": "celery.accumulate", "options": {"queue": "kept"}}',
    "a type of kombu's": '{"task": {"__type__": "uuid", "__value__": "x"}}',
    "deeply nested": '{"task": "store", "args": ' + "[" * 5000 + "]" * 5000 + "}",
}


@pytest.mark.parametrize("header", FORGED.values(), ids=FORGED)
def test_a_forged_callback_makes_the_message_a_dead_letter(site: Site, header: object) -> None:
    job_id = str(uuid.uuid4())
    body = json.dumps([[["a text"]], {}, {}])
    site.redis.lpush("sentq", raw(message(body, job_id=job_id, headers={CALLBACK_HEADER: header})))
    dead_letter = _next_dead_letter(site)
    assert dead_letter.job_id == job_id
    assert dead_letter.code in {"malformed", "link_refused"}
    with pytest.raises(Exception, match=r"callback|signature|follow"):
        site.stock.AsyncResult(job_id).get(timeout=WAIT_S)
    assert not site.redis.exists(ALLOWED)
    eventually(site.is_settled)


def test_the_headers_of_a_callback_do_not_replace_the_task_that_was_checked(
    site: Site, client: Client
) -> None:
    headers = {"task": "CANARY.task", "id": "CANARY", "traceparent": "00-1"}
    client.submit("a text", then=_signature(headers=headers)).result(timeout=WAIT_S)
    published = site.pop(ALLOWED)["headers"]
    assert (published["task"], published["traceparent"]) == ("store", "00-1")
    assert published["id"] != "CANARY"


def test_a_forged_callback_of_another_task_is_not_published(site: Site, client: Client) -> None:
    """A header of a message that is no job means nothing."""
    header = json.dumps({"task": "store", "options": {"queue": ALLOWED}})
    headers = {"task": "other", CALLBACK_HEADER: header}
    site.redis.lpush("sentq", raw(message("[[], {}, {}]", headers=headers)))
    assert _next_dead_letter(site).code == "unknown_task"
    assert not site.redis.exists(ALLOWED)


def test_a_producer_cannot_write_into_the_queue_of_callbacks(site: Site, client: Client) -> None:
    client.submit("a text", then=_signature()).result(timeout=WAIT_S)
    assert site.pop(ALLOWED)["headers"]["task"] == "store"
    assert client.submit("still alive").result(timeout=WAIT_S).outcomes
