"""The pytest plugin of sentq: fixtures that give a service to the code under test.

It is a module of its own because pytest imports it in every run, also where no test uses sentq: it
imports nothing but pytest, and a fixture imports `sentq.testing` when a test asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sentq.testing import Kit
    from sentq.testing.real import RealService


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    parser.getgroup("sentq").addoption(
        "--sentq-redis-url",
        help="The Redis of the fixture `sentq_redis`, such as redis://127.0.0.1:6379/15. Without "
        "it, a private one is started. The worker reads queues of its own there.",
    )


@pytest.fixture
def sentq() -> Iterator[Kit]:
    """A service in memory that scores each job as it is submitted (`sentq.testing.inline`)."""
    from sentq.testing import inline

    with inline() as kit:
        yield kit


@pytest.fixture
def sentq_manual() -> Iterator[Kit]:
    """A service in memory whose jobs wait for `drain()` (`sentq.testing.manual`)."""
    from sentq.testing import manual

    with manual() as kit:
        yield kit


@pytest.fixture(scope="session")
def _sentq_service(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[RealService]:
    from sentq.dev.embedded import NoRedisFound
    from sentq.dev.stack import WorkerDidNotStart
    from sentq.testing.real import real_service

    folder, url = tmp_path_factory.mktemp("sentq"), pytestconfig.getoption("--sentq-redis-url")
    with ExitStack() as stack:
        try:
            service = stack.enter_context(real_service(folder, url))
        except (NoRedisFound, WorkerDidNotStart) as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        yield service


@pytest.fixture
def sentq_redis(_sentq_service: RealService, monkeypatch: pytest.MonkeyPatch) -> RealService:
    """A real Redis and a real worker, started once for all tests. The variables of the test lead
    to them. Without a Redis or a worker the test is skipped; it fails if the variable CI is set."""
    service = _sentq_service.for_one_test()
    for name, value in service.variables.items():
        monkeypatch.setenv(name, value)
    return service
