"""An engine that is unavailable for a while: jobs wait, and continue without an operator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.celery.site import Site, finish_with_successor, run_site
from tests.support.processes import eventually
from tests.support.workers.gated import failed_calls, make_available, make_unavailable, scored

_PREFETCH_JOBS = 8


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with run_site(folder, SENTQ_WORKER_PREFETCH_JOBS=str(_PREFETCH_JOBS)) as site:
        yield site


@pytest.fixture
def site(running: Site) -> Site:
    """A site whose engine is unavailable and called again five times a second."""
    make_unavailable(running.redis, retry_after_s=0.2)
    return running


def test_jobs_wait_in_order_and_are_scored_when_the_engine_is_available_again(site: Site) -> None:
    texts = [f"in order {number:02}" for number in range(20)]
    celerys_path = {3: {"expires": 600}, 5: {"expires": 600}}
    jobs = [site.score(text, **celerys_path.get(n, {})) for n, text in enumerate(texts)]
    eventually(lambda: failed_calls(site.redis) >= 3, what="repeated calls of the engine")
    assert (site.redis.hlen("unacked"), site.redis.llen("sentq")) == (_PREFETCH_JOBS, 12)
    make_available(site.redis)
    outcomes = [job.get(timeout=30) for job in jobs]
    assert [text for text in scored(site.redis) if text in texts] == texts
    assert outcomes[0]["attempts"] >= 4
    assert min(outcome["attempts"] for outcome in outcomes[:_PREFETCH_JOBS]) >= 2
    assert outcomes[-1]["attempts"] == 1
    assert site.worker.log.count("made unavailable") == 1
    assert site.worker.log.count("the engine is available again") == 1
    assert site.is_settled()


def test_a_waiting_job_can_be_revoked(site: Site) -> None:
    plain, celerys = site.score("revoked, plain"), site.score("revoked, own", expires=600)
    kept = site.score("kept")
    eventually(lambda: failed_calls(site.redis) >= 1)
    for job in (plain, celerys):
        site.revoke(job.id)
    eventually(lambda: (plain.status, celerys.status) == ("REVOKED", "REVOKED"))
    assert kept.status == "PENDING"
    make_available(site.redis)
    kept.get(timeout=30)
    assert not site.was_scored("revoked, plain")
    assert not site.was_scored("revoked, own")


@pytest.mark.slow
def test_sigterm_requeues_waiting_jobs_at_once_and_in_order(tmp_path: Path) -> None:
    with run_site(tmp_path, SENTQ_WORKER_PREFETCH_JOBS="3") as site:
        make_unavailable(site.redis, retry_after_s=600)
        texts = [f"requeued {number}" for number in range(6)]
        jobs = [site.score(text) for text in texts]
        eventually(lambda: failed_calls(site.redis) == 1)
        assert site.worker.stop(within_s=8) == 0
        assert site.is_settled()
        assert site.redis.llen("sentq") == len(jobs)
        make_available(site.redis)
        finish_with_successor(site, tmp_path, jobs)
        assert list(scored(site.redis)) == texts
