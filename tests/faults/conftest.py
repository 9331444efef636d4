"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.batch.workers import ReplaceableWorkers
from tests.support.fork_server import ForkServer


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Fork workers, each in a tenth of a second."""
    with ForkServer() as fork_server:
        yield fork_server


@pytest.fixture
def workers(tmp_path: Path, fork_server: ForkServer) -> Iterator[ReplaceableWorkers]:
    """Workers that are replaced as they are killed."""
    with ReplaceableWorkers(tmp_path, fork_server) as workers:
        yield workers
