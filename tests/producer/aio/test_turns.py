"""Calls that begin together are spread over turns of the event loop, in their order."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from sentq.aio.turns import Turns
from tests.producer.aio.conftest import RunInLoop


class _TurnCounter:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.number = 0
        self._loop = asyncio.get_running_loop()
        self._next()

    def _next(self) -> None:
        self.number += 1
        self._handle = self._loop.call_soon(self._next)

    def close(self) -> None:
        self._handle.cancel()


def test_a_call_alone_waits_for_nothing(run: RunInLoop) -> None:
    async def main() -> None:
        turns = Turns()
        for _ in range(3):
            with pytest.raises(StopIteration):
                turns.begin().send(None)
            await asyncio.sleep(0)

    run(main())


def test_calls_that_begin_together_are_spread_over_turns_in_their_order(run: RunInLoop) -> None:
    async def main() -> None:
        turns, counter = Turns(), _TurnCounter()
        begun: list[tuple[int, int]] = []

        async def call(number: int) -> None:
            await turns.begin()
            begun.append((counter.number, number))

        await asyncio.gather(*map(call, range(1000)))
        counter.close()
        assert [number for _, number in begun] == list(range(1000))
        in_turn = Counter(turn for turn, _ in begun)
        assert max(in_turn.values()) <= 32
        await asyncio.sleep(0)
        with pytest.raises(StopIteration):
            turns.begin().send(None)

    run(main())


def test_calls_that_take_long_begin_one_in_a_turn(run: RunInLoop) -> None:
    async def main() -> None:
        turns, counter = Turns(), _TurnCounter()
        begun = Counter[int]()

        async def call() -> None:
            await turns.begin()
            begun[counter.number] += 1
            end_s = time.thread_time() + 0.006
            while time.thread_time() < end_s:
                pass

        await asyncio.gather(*(call() for _ in range(20)))
        counter.close()
        assert list(begun.values()) == [1] * 20

    run(main())


def test_a_call_that_is_cancelled_while_it_waits_delays_no_other(run: RunInLoop) -> None:
    async def main() -> None:
        turns = Turns()
        begun: list[int] = []

        async def call(number: int) -> None:
            await turns.begin()
            begun.append(number)

        calls = [asyncio.create_task(call(number)) for number in range(200)]
        await asyncio.sleep(0)
        for cancelled in calls[::2]:
            cancelled.cancel()
        await asyncio.wait(calls)
        assert begun == sorted(begun)
        assert set(begun) >= set(range(1, 200, 2))
        assert len(begun) <= 100 + 16, "only those that began before the others were cancelled"

    run(main())
