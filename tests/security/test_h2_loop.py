"""A worker whose event loop stands still gives its jobs away, and ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sentq_worker.celery_worker.loop_watchdog import LoopWatchdog
from sentq_worker.exit_codes import EX_SOFTWARE
from tests.support.celery.site import stock_app
from tests.support.processes import RedisProcess, StartWorker, eventually
from tests.support.workers.stuck_loop import STUCK


class TurnedLoop:
    """An event loop that a test turns."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[..., object], /, *args: object) -> None:
        self.due.append(lambda: callback(*args))

    def call_later(self, _delay: float, callback: Callable[..., object], /, *args: object) -> None:
        self.call_soon(callback, *args)

    def turn(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()


@pytest.fixture
def ended() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watchdog(ended: threading.Event) -> Iterator[LoopWatchdog]:
    watchdog = LoopWatchdog(limit_s=0.4, end_process=ended.set)
    yield watchdog
    watchdog.stop()


@pytest.mark.unit
def test_a_loop_that_stands_still_ends_the_process(
    watchdog: LoopWatchdog, ended: threading.Event
) -> None:
    watchdog.watch(TurnedLoop())
    assert ended.wait(10)
    assert not watchdog.is_loop_turning


@pytest.mark.unit
def test_a_loop_that_turns_ends_nothing(watchdog: LoopWatchdog, ended: threading.Event) -> None:
    loop = TurnedLoop()
    watchdog.watch(loop)
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        loop.turn()
        time.sleep(0.01)
    assert not ended.is_set()


@pytest.mark.slow
@pytest.mark.unit
def test_a_loop_is_not_expected_to_turn_without_redis_or_a_connection(
    watchdog: LoopWatchdog, ended: threading.Event
) -> None:
    watchdog.watch(TurnedLoop())
    with watchdog.paused():
        assert not ended.wait(0.8)
    watchdog.is_redis_away = lambda: True
    assert not ended.wait(0.8)
    watchdog.pause()
    watchdog.is_redis_away = lambda: False
    assert not ended.wait(0.8)
    assert watchdog.is_loop_turning


@pytest.mark.slow
def test_a_worker_whose_loop_stands_still_exits_and_another_scores_its_job(
    redis_server: RedisProcess, start_worker: StartWorker
) -> None:
    environment = {"SENTQ_WORKER_LOOP_LIMIT_S": "5", "SENTQ_VISIBILITY_TIMEOUT_S": "10"}
    stuck = start_worker(
        redis_server.url, command=("tests.support.workers.stuck_loop",), **environment
    )
    with stock_app(redis_server.url) as stock:
        job = stock.send_task(
            "sentq.score", args=[["a text"]], queue="sentq", shadow=STUCK, retries=1
        )
        assert eventually(stuck.process.poll, within_s=40, what="an exit") == EX_SOFTWARE
        assert "event loop has stood still for more than 5 s" in stuck.log
        start_worker(redis_server.url, command=("tests.support.workers.standin",), **environment)
        assert job.get(timeout=30)["outcomes"]
