"""Fixtures of tests with a `site`, which each of their files makes with settings of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.celery.site import Site, start_followup
from tests.support.processes import WorkerProcess


@pytest.fixture(scope="module")
def follower(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """A stock Celery worker on the site's Redis, with the tasks that follow a job."""
    worker = start_followup(tmp_path_factory.mktemp("followup"), site.server.url)
    yield worker.wait_until_ready()
    worker.stop()
