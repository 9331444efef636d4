"""A FastAPI application whose requests await scores, under uvicorn: many at once, and shut down
while requests are in flight."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from sentq import Client
from tests.support.missing import redis_program
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.web.server import NAME, Response, WebServer, request, requests
from tests.support.workers.standin import hash_score

pytestmark = pytest.mark.slow

AT_ONCE: Final = 500

#: uvicorn raises the signal again when it has shut down.
ENDED: Final = (0, -signal.SIGTERM)

#: What an application logs that leaves something behind.
PROBLEMS: Final = re.compile(
    r"Traceback|never retrieved|never awaited|Task was destroyed|ResourceWarning|unclosed", re.I
)

Start = Callable[..., WebServer]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    server = RedisProcess(redis_program(), tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop()


@pytest.fixture
def start(server: RedisProcess, tmp_path: Path) -> Iterator[Start]:
    """Start web servers, and kill them after the test."""
    started: list[WebServer] = []

    def start(*options: str, app: str = "app") -> WebServer:
        python = ("-W", "default::ResourceWarning")
        started.append(WebServer(tmp_path, server.url, *options, app=app, python=python))
        return started[-1].wait_until_ready()

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
    with server.client() as redis:
        redis.flushall()


@pytest.fixture
def worker(server: RedisProcess, tmp_path: Path) -> Iterator[Callable[[str], WorkerProcess]]:
    """Start workers whose batches take so many seconds."""
    started: list[WorkerProcess] = []

    def start(delay_s: str = "0") -> WorkerProcess:
        environment = {"SENTQ_BROKER_URL": server.url, "STANDIN_DELAY_S": delay_s}
        started.append(WorkerProcess(tmp_path, environment, ("tests.support.workers.standin",)))
        return started[-1].wait_until_ready()

    yield start
    for each in started:
        each.stop()


def _connections(server: RedisProcess) -> int:
    """Return how many connections applications have."""
    with server.client() as redis:
        return sum(each["name"] == NAME for each in redis.client_list())


def _are_scores(responses: list[Response | BaseException], texts: list[str]) -> bool:
    return responses == [Response(200, {"score": hash_score(text)}) for text in texts]


async def _terminate_in_flight(
    web: WebServer, server: RedisProcess, texts: list[str]
) -> list[Response | BaseException]:
    """Send requests, send SIGTERM once all jobs were sent, and return the responses."""
    calls = asyncio.create_task(requests(web.port, "/scores", texts))
    with server.client() as redis:
        # Each job that was sent has a document.
        all_sent = partial(eventually, lambda: len(redis.keys("celery-task-meta-*")) == len(texts))
        await asyncio.to_thread(all_sent)
    web.terminate()
    return await calls


@pytest.mark.parametrize("app", ["app", "paced_app"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_many_requests_at_once_each_get_the_score_of_their_text(
    server: RedisProcess,
    start: Start,
    worker: Callable[[str], WorkerProcess],
    loop: str,
    app: str,
) -> None:
    worker("0")
    web = start("--loop", loop, app=app)
    texts = [f"text {number}" for number in range(AT_ONCE)]
    for _ in range(3):
        responses = asyncio.run(requests(web.port, "/scores", texts))
        assert _are_scores(responses, texts)
    assert 1 <= _connections(server) <= 2
    stalls = asyncio.run(request(web.port, "GET", "/stalls"))
    print(f"\nlongest stalls: {stalls.body}")  # noqa: T201
    assert web.stop() in ENDED
    assert not PROBLEMS.search(web.log), web.log
    eventually(lambda: _connections(server) == 0, what="closed connections")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_requests_in_flight_are_answered_before_the_application_ends(
    server: RedisProcess, start: Start, worker: Callable[[str], WorkerProcess], loop: str
) -> None:
    worker("1")
    web = start("--loop", loop)
    texts = [f"text {number}" for number in range(100)]

    assert _are_scores(asyncio.run(_terminate_in_flight(web, server, texts)), texts)
    assert web.stop() in ENDED
    assert not PROBLEMS.search(web.log), web.log


def test_an_application_that_gives_requests_up_leaves_its_jobs_and_nothing_else(
    server: RedisProcess, start: Start, worker: Callable[[str], WorkerProcess]
) -> None:
    web = start("--timeout-graceful-shutdown", "1")
    texts = [f"text {number}" for number in range(100)]

    responses = asyncio.run(_terminate_in_flight(web, server, texts))
    assert not any(isinstance(each, Response) and each.status == 200 for each in responses)
    assert web.stop() in ENDED
    for problem in ("never retrieved", "never awaited", "Task was destroyed", "ResourceWarning"):
        assert problem not in web.log, web.log
    eventually(lambda: _connections(server) == 0, what="closed connections")
    with Client(broker_url=server.url) as client:
        assert client.backlog().total_jobs == len(texts)
        worker("0")
        eventually(lambda: client.backlog().total_jobs == 0, what="scored jobs")
