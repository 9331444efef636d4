"""The services of the contract suite: both modes of the test kit, and a real worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentq import AsyncClient, Client
from sentq.testing import inline, manual
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess, worker_environment
from tests.support.services.blocking import BlockingFacade
from tests.support.services.services import KitService, RealWorkerService, ServiceOfTests

#: Makes a client with single settings in place of those of the service. `AsyncClient` has the
#: methods of `Client` then.
MakeClient = Callable[..., Any]

#: In base64, 32 bytes: the key of the workers, and one that they do not have.
KEY = "a" * 43 + "="
OTHER_KEY = "b" * 43 + "="


@pytest.fixture(scope="module")
def real_worker(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> Iterator[RealWorkerService]:
    """A real worker with a Redis of its own."""
    folder = tmp_path_factory.mktemp("real")
    server = RedisProcess(redis_program(), folder).start()
    environment = worker_environment(server.url, tiny_model) | {"SENTQ_ENCRYPTION_KEYS": KEY}
    worker = WorkerProcess(folder, environment).wait_until_ready()
    yield RealWorkerService(server, worker)
    worker.stop()
    server.stop()


@pytest.fixture(
    params=[
        "inline",
        "manual",
        pytest.param("real", marks=[pytest.mark.process, pytest.mark.slow]),
    ]
)
def service(request: pytest.FixtureRequest) -> Iterator[ServiceOfTests]:
    """A service of each kind."""
    if request.param == "real":
        yield request.getfixturevalue("real_worker")
        return
    with {"inline": inline, "manual": manual}[request.param](encryption_keys=KEY) as kit:
        kit.settings = kit.settings.model_copy(update={"encryption_keys": ()})
        yield KitService(kit)


@pytest.fixture(params=["sync", "async"])
def make_client(request: pytest.FixtureRequest, service: ServiceOfTests) -> Iterator[MakeClient]:
    """Make clients of each kind; each is closed at the end."""
    made: list[Any] = []
    with asyncio.Runner() as runner:

        def make(**overrides: object) -> Any:
            settings = service.settings(**overrides)
            is_sync = request.param == "sync"
            client = Client(settings) if is_sync else BlockingFacade(AsyncClient(settings), runner)
            made.append(client)
            return client

        yield make
        for client in made:
            client.close()


@pytest.fixture
def client(make_client: MakeClient) -> Any:
    """A client of each kind."""
    return make_client()
