"""What a sender says about earlier deliveries of a message changes nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.corpus.messages import message, protocol1, raw
from tests.support.celery.site import Site, run_site
from tests.support.processes import eventually
from tests.support.redis_state import lost_deliveries_of
from tests.support.workers.gated import batches

FORGED: dict[str, Any] = {
    "sentq_deliveries": 2,
    "sentq_first_error": "x",
    "sentq_last_error": "x",
    "sentq_alone": {"worker": "x", "at_s": 1.5, "tag": "x"},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site")) as site:
        yield site


def _plain(job_id: str, text: str) -> bytes:
    return raw(message(json.dumps([[[text]], {}, {}]), job_id=job_id, headers=FORGED))


def _redelivered(job_id: str, text: str) -> bytes:
    headers = FORGED | {"redelivered": True}
    return raw(message(json.dumps([[[text]], {}, {}]), job_id=job_id, headers=headers))


def _with_retries(job_id: str, text: str) -> bytes:
    headers = FORGED | {"retries": 1}
    return raw(message(json.dumps([[[text]], {}, {}]), job_id=job_id, headers=headers))


def _protocol1(job_id: str, text: str) -> bytes:
    return raw(protocol1(id=job_id, args=[[text]], **FORGED))


@pytest.mark.parametrize("make", [_plain, _redelivered, _with_retries, _protocol1])
def test_a_forged_count_makes_no_job_run_alone(site: Site, make: Any) -> None:
    ids = [str(uuid.uuid4()) for _ in range(20)]
    texts = [f"a text {job_id}" for job_id in ids]
    with site.engine_busy(ids[0]):
        for job_id, text in zip(ids, texts, strict=True):
            site.redis.lpush("sentq", make(job_id, text))
        eventually(lambda: site.redis.hlen("unacked") == len(ids) + 1, what="all are taken")
    for job_id in ids:
        assert site.stock.AsyncResult(job_id).get(timeout=20)["attempts"] < 3
    assert sorted(batches(site.redis)[-1]) == sorted(texts), "one batch holds them all"
    assert lost_deliveries_of(site.redis, ids[0]) is None
