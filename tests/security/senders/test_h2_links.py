"""What a message says shall follow its job neither stalls a worker nor damages a key in Redis."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from sentq.wire.dead_letters import DeadLetter
from tests.support.celery.links import canvas, link, send_with_links
from tests.support.celery.site import Site, run_site
from tests.support.processes import eventually

WAIT_S = 20

#: What stopped a worker: Redis refuses the publishing, and Celery tries again after eleven days.
FOREVER = {"max_retries": 5, "interval_start": 1_000_000, "interval_max": 1_000_000}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site"), SENTQ_WORKER_LOOP_LIMIT_S="10") as site:
        site.redis.set("a string", "no list")
        yield site


def _next_dead_letter(site: Site) -> DeadLetter:
    dead_letter = eventually(site.pop_dead_letter, what="a dead letter")
    assert dead_letter is not None
    return dead_letter


def _serves(site: Site) -> None:
    began_at = time.monotonic()
    site.score(f"a neighbour {uuid.uuid4()}").get(timeout=5)
    assert time.monotonic() - began_at < 5


STUCK = {"queue": "a string", "retry": True, "retry_policy": FOREVER}

ATTACKS: dict[str, dict[str, Any]] = {
    "a link": {"callbacks": [link(**STUCK)]},
    "two links": {"callbacks": [link(**STUCK), link(**STUCK)]},
    "a chain": {"chain": [link(**STUCK)]},
    "a group in a link": {"callbacks": [canvas("group", tasks=[link(**STUCK)])]},
    "a chain in a link": {
        "callbacks": [canvas("chain", tasks=[link(**STUCK), link(queue="after")])]
    },
    "a chord in a link": {
        "callbacks": [canvas("chord", header=[link(**STUCK)], body=link(**STUCK))]
    },
    "a stamp named like an option": {
        "callbacks": [
            link(
                queue="a string",
                retry=True,
                retry_policy=FOREVER,
                stamped_headers=["retry_policy", "retry"],
            )
        ]
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("embed", ATTACKS.values(), ids=ATTACKS)
def test_a_publishing_that_redis_refuses_does_not_stall_the_worker(
    site: Site, embed: dict[str, Any]
) -> None:
    job_id = send_with_links(site, embed)
    _serves(site)
    assert site.stock.AsyncResult(job_id).get(timeout=WAIT_S, propagate=False) is not None
    eventually(site.is_settled)


def test_links_in_headers_are_not_followed(site: Site) -> None:
    job_id = send_with_links(site, {}, retries=1, callbacks=[link(queue="by-header")])
    assert site.stock.AsyncResult(job_id).get(timeout=WAIT_S)["outcomes"]
    assert not site.redis.exists("by-header")


@pytest.mark.parametrize(
    "queue",
    [
        *("unacked", "unacked_index", "unacked_mutex", "_kombu.binding.sentq", "sentq.dead"),
        *("celery-task-meta-x", "sentq.workers", "sentq.cancelled", "sentq-key-x", "a\nb", ""),
        *("sentq@test.celery.pidbox", "x" * 256),
    ],
)
def test_a_link_into_a_key_of_sentq_or_kombu_is_refused(site: Site, queue: str) -> None:
    job_id = send_with_links(site, {"callbacks": [link(queue=queue, retry_policy=FOREVER)]})
    _serves(site)
    assert site.stock.AsyncResult(job_id).get(timeout=WAIT_S, propagate=False) is not None
    dead_letter = _next_dead_letter(site)
    assert dead_letter.job_id == job_id
    assert dead_letter.reason == "the option queue of a signature is invalid"


@pytest.mark.parametrize(
    "options",
    [
        *({"countdown": 1e300}, {"countdown": "1"}, {"countdown": -1}, {"eta": "never"}),
        *({"expires": []}, {"priority": "high"}, {"task_id": "a\nb"}, {"time_limit": True}),
        *({"headers": 5}, {"link": 5}, {"chord": []}, {"eta": "9999-12-31T00:00:00"}),
    ],
    ids=str,
)
def test_an_invalid_option_becomes_a_dead_letter(site: Site, options: dict[str, Any]) -> None:
    job_id = send_with_links(site, {"callbacks": [link(queue="q", **options)]})
    dead_letter = _next_dead_letter(site)
    assert (dead_letter.job_id, dead_letter.code) == (job_id, "malformed")


def test_many_or_deep_signatures_become_a_dead_letter(site: Site) -> None:
    deep = link(queue="q")
    for _ in range(30):
        deep = link(queue="q", link=[deep])
    for embed, words in (
        ({"callbacks": [link(queue="q")] * 501}, "more than 500 signatures"),
        ({"callbacks": [deep]}, "nested too deeply"),
    ):
        send_with_links(site, embed)
        assert words in _next_dead_letter(site).reason


def test_usual_options_are_kept_and_others_are_logged_once(site: Site) -> None:
    follows = str(uuid.uuid4())
    options: dict[str, Any] = {
        "queue": "kept",
        "priority": 3,
        "countdown": 60,
        "task_id": follows,
        "headers": {"traceparent": "00-1"},
        "stamped_headers": ["tenant"],
        "tenant": "acme",
        "compression": "zlib",
        "serializer": "pickle",
        "exchange": "unacked",
        "CANARY-option": 1,
    }
    for _ in range(2):
        job_id = send_with_links(site, {"callbacks": [link(**options)]})
        assert site.stock.AsyncResult(job_id).get(timeout=WAIT_S)["outcomes"]
    published = eventually(lambda: site.pop("kept") or site.pop("kept\x06\x163"))
    headers = published["headers"]
    assert (published["content-type"], headers["id"]) == ("application/json", follows)
    assert (headers["traceparent"], headers["stamps"]) == ("00-1", {"tenant": "acme"})
    assert headers["eta"]
    assert "compression" not in headers
    log = site.worker.log
    for name in ("compression", "serializer", "exchange", "an unknown one"):
        assert log.count(f"dropped ({name})") == 1
    assert "CANARY" not in log
