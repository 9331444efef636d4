"""What a sender may ask for beside being scored, kept by a real worker with a gated engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.celery_site import Site, run_site
from tests.processes import eventually
from tests.standin import hash_score

from sentq import Client, JobStatus, Prediction, errors

WAIT_S = 30


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with run_site(tmp_path_factory.mktemp("site")) as site:
        yield site
        eventually(site.is_settled, what="everything acknowledged")


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[Client]:
    with Client(broker_url=site.server.url) as client:
        yield client


def test_a_cancelled_job_is_not_scored(site: Site, client: Client) -> None:
    with site.engine_held("cancel"):
        job, other = client.submit_many(["cancelled", "kept"])
        eventually(lambda: len(site.ask("reserved")) == 2)
        assert job.cancel()
        eventually(lambda: job.id in site.ask("revoked"), what="the worker heard of it")
    (kept,) = other.result(WAIT_S).outcomes
    assert isinstance(kept, Prediction)
    assert kept.score == hash_score("kept")
    assert job.status() is JobStatus.CANCELLED
    with pytest.raises(errors.JobCancelled):
        job.result(WAIT_S)
    assert not site.was_scored("cancelled")
