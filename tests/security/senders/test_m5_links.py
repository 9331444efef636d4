"""What follows a job is published only as `follow_queues` and `follow_tasks` allow."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord

from sentq.errors import SettingsError
from sentq.wire.dead_letters import DeadLetter
from sentq_worker.settings import WorkerSettings
from tests.support.celery.links import canvas, link, send_with_links
from tests.support.celery.site import Site, run_site, start_followup
from tests.support.processes import eventually

WAIT_S = 20
QUEUE = "followup"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    allowed: Any = {
        "SENTQ_WORKER_FOLLOW_QUEUES": f"{QUEUE}, kept",
        "SENTQ_WORKER_FOLLOW_TASKS": "followup.save,followup.regret,followup.collect",
    }
    with run_site(folder, **allowed) as site:
        follower = start_followup(folder, site.server.url)
        try:
            follower.wait_until_ready()
            yield site
        finally:
            follower.stop()


def _next_dead_letter(site: Site) -> DeadLetter:
    dead_letter = eventually(site.pop_dead_letter, what="a dead letter")
    assert dead_letter is not None
    return dead_letter


def _good(**options: Any) -> dict[str, Any]:
    return link(**{"queue": QUEUE, **options})


BAD_QUEUE = link(queue="CANARY")
BAD_TASK = link("CANARY.task", queue=QUEUE)

REFUSED: dict[str, dict[str, Any]] = {
    "a queue": {"callbacks": [BAD_QUEUE]},
    "a task": {"callbacks": [BAD_TASK]},
    "a queue of sentq": {"callbacks": [link(queue="sentq")]},
    "the default queue of another task": {"callbacks": [link()]},
    "the default queue of a job": {"callbacks": [link("sentq.score")]},
    "a pickled one": {"callbacks": [link("CANARY.task", queue="CANARY", serializer="pickle")]},
    "the second of two": {"callbacks": [_good(), BAD_QUEUE]},
    "one that is no list": {"callbacks": BAD_QUEUE},
    "an error link": {"errbacks": [BAD_QUEUE]},
    "a chain": {"chain": [BAD_QUEUE]},
    "the end of a chain": {"chain": [BAD_QUEUE, _good()]},
    "the body of the job's chord": {"chord": BAD_QUEUE},
    "a link of a link": {"callbacks": [_good(link=[_good(link=[BAD_TASK])])]},
    "an error link of a link": {"callbacks": [_good(link_error=[BAD_QUEUE])]},
    "an error link of a chord's body": {"chord": _good(link_error=[BAD_QUEUE])},
    "a chain of a link": {"callbacks": [_good(chain=[BAD_QUEUE])]},
    "a chord of a link": {"callbacks": [_good(chord=BAD_QUEUE, group_id="g", task_id="t")]},
    "a replaced one": {"callbacks": [link(queue="CANARY", replaced_task_nesting=3)]},
    "one with stamps": {
        "callbacks": [link(queue="CANARY", stamped_headers=["queue", "x"], x=QUEUE)]
    },
    "one with headers": {"callbacks": [link(queue="CANARY", headers={"queue": QUEUE})]},
    "in a group": {"callbacks": [canvas("group", tasks=[_good(), BAD_QUEUE])]},
    "a group's own queue": {
        "callbacks": [canvas("group", tasks=[_good()]) | {"options": {"queue": "CANARY"}}]
    },
    "in a chain in a group": {
        "callbacks": [canvas("group", tasks=[canvas("chain", tasks=[_good(), BAD_TASK])])]
    },
    "a chord's header": {"callbacks": [canvas("chord", header=[BAD_QUEUE], body=_good())]},
    "a chord's body": {"callbacks": [canvas("chord", header=[_good()], body=BAD_QUEUE)]},
}


@pytest.mark.parametrize("embed", REFUSED.values(), ids=REFUSED)
def test_what_the_settings_do_not_allow_is_not_published(site: Site, embed: dict[str, Any]) -> None:
    job_id = send_with_links(site, embed)
    dead_letter = _next_dead_letter(site)
    assert (dead_letter.job_id, dead_letter.code) == (job_id, "link_refused")
    result = site.stock.AsyncResult(job_id)
    with pytest.raises(Exception, match=r"follow_(queues|tasks)") as error:
        result.get(timeout=WAIT_S)
    assert type(error.value).__name__ == "LinkRefused"
    assert not site.was_scored("a text")
    assert not site.redis.exists("CANARY", "sentq", "celery")
    eventually(site.is_settled)
    assert "CANARY" not in dead_letter.reason + str(error.value) + site.worker.log


def test_what_the_settings_allow_is_published_as_json(site: Site) -> None:
    follows = str(uuid.uuid4())
    embed = {"callbacks": [link(queue="kept", task_id=follows, serializer="pickle")]}
    job_id = send_with_links(site, embed)
    assert site.stock.AsyncResult(job_id).get(timeout=WAIT_S)["outcomes"]
    published = eventually(lambda: site.pop("kept"), what="the link")
    assert (published["content-type"], published["headers"]["id"]) == ("application/json", follows)


def test_headers_of_a_signature_do_not_replace_the_task_that_was_checked(site: Site) -> None:
    headers = {"task": "CANARY.task", "id": "CANARY", "retries": 7, "traceparent": "00-1"}
    send_with_links(site, {"callbacks": [link(queue="kept", headers=headers)]})
    published = eventually(lambda: site.pop("kept"), what="the link")["headers"]
    assert (published["task"], published["retries"]) == ("followup.save", 0)
    assert published["id"] != "CANARY"
    assert published["traceparent"] == "00-1"


def test_allowed_chains_and_chords_run(site: Site) -> None:
    linear = chain(site.signature("one"), site.followup("save"))
    assert linear.apply_async().get(timeout=WAIT_S) == 1
    joined = chord([site.signature("one"), site.signature("two")], site.followup("collect"))
    assert joined.apply_async().get(timeout=WAIT_S) == 2


def test_a_chain_with_a_refused_task_fails_at_its_end_too(site: Site) -> None:
    refused = site.followup("write", "a", queue="elsewhere")
    result = chain(site.signature("one"), refused, site.followup("save")).apply_async()
    while result is not None:
        with pytest.raises(Exception, match="follow_"):
            result.get(timeout=WAIT_S)
        result = result.parent
    assert _next_dead_letter(site).code == "link_refused"


def test_a_chord_with_a_refused_body_fails(site: Site) -> None:
    jobs = [site.signature("one"), site.signature("two")]
    with pytest.raises(Exception, match="follow_"):
        chord(jobs, site.followup("collect", queue="elsewhere")).apply_async().get(timeout=WAIT_S)
    for _ in jobs:
        assert _next_dead_letter(site).code == "link_refused"


def test_the_worker_serves_others_after_all_of_that(site: Site) -> None:
    assert site.score("a neighbour").get(timeout=WAIT_S)["outcomes"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a,b", ("a", "b")), (" a b ", ("a", "b")), (",", ()), ("", None)],
)
def test_lists_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: tuple[str, ...] | None
) -> None:
    monkeypatch.setenv("SENTQ_WORKER_FOLLOW_QUEUES", value)
    assert WorkerSettings.load().follow_queues == expected


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(SettingsError, match="follow_tasks"):
        WorkerSettings.load(follow_tasks=5)
