"""Fixtures of the tests of `sentq.aio`: both kinds of event loop, and a worker with a stand-in."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from sentq import AsyncClient
from tests.support.missing import skip_without
from tests.support.processes import RedisProcess

#: Runs a coroutine in a new event loop, and fails if it leaves a task behind.
RunInLoop = Callable[[Coroutine[Any, Any, Any]], Any]

T = TypeVar("T")


async def until(check: Callable[[], T]) -> T:
    """Call `check` until it returns a true value, and return that value."""
    deadline = time.monotonic() + 20
    while not (found := check()):
        assert time.monotonic() < deadline, check
        await asyncio.sleep(0.01)
    return found


def _factory(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if kind == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        skip_without("uvloop", f"not installed on {sys.platform}")
    return uvloop.new_event_loop


async def _leaves_no_task(main: Coroutine[Any, Any, Any]) -> Any:
    result = await main
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, left
    return result


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> RunInLoop:
    """Run a coroutine in an event loop of each kind."""
    factory = _factory(request.param)

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(_leaves_no_task(main))

    return run


@pytest.fixture
def aclient(redis_server: RedisProcess) -> AsyncClient:
    """A client of the test's Redis, which has no connection yet."""
    return AsyncClient(broker_url=redis_server.url)
