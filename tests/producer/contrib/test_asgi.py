"""`PacedRequests` lets few requests begin in a turn of the event loop, in their order."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from sentq.contrib.fastapi import PacedRequests


async def _receive() -> dict[str, Any]:
    return {"type": "http.request"}


async def _send(_message: Any) -> None:
    pass


def test_requests_that_arrive_together_let_other_tasks_run_between_them() -> None:
    begun: list[int] = []
    seen: list[int] = []

    async def application(scope: Any, _receive: Any, _send: Any) -> None:
        begun.append(scope["number"])

    async def watch() -> None:
        while len(begun) < 1000:
            seen.append(len(begun))
            await asyncio.sleep(0)

    async def main() -> None:
        paced = PacedRequests(application)
        watching = asyncio.create_task(watch())
        scopes = ({"type": "http", "number": number} for number in range(1000))
        await asyncio.gather(*(paced(scope, _receive, _send) for scope in scopes))
        await watching

    asyncio.run(main())
    assert begun == list(range(1000))
    steps = [later - earlier for earlier, later in pairwise(seen)]
    assert max(steps) <= 32


@pytest.mark.parametrize("kind", ["http", "lifespan", "websocket"])
def test_a_request_alone_and_everything_else_begins_at_once(kind: str) -> None:
    begun: list[str] = []

    async def application(scope: Any, _receive: Any, _send: Any) -> None:
        begun.append(scope["type"])

    async def main() -> None:
        with pytest.raises(StopIteration):
            PacedRequests(application)({"type": kind}, _receive, _send).send(None)

    asyncio.run(main())
    assert begun == [kind]


def test_an_application_can_be_called_in_one_event_loop_after_another() -> None:
    app = FastAPI()
    app.add_middleware(PacedRequests)

    @app.get("/")
    async def root() -> str:
        return "here"

    # Without `with`, each request of this client has a loop of its own.
    http = TestClient(app)
    assert [http.get("/").json() for _ in range(3)] == ["here"] * 3
