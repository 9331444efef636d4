"""Bound what the callers of a client do in one turn of the event loop.

A turn of asyncio runs all that is ready. If a thousand tasks call the client at once, each checks
and encodes its job before it waits for Redis, and no other task runs until the last one has done
so. Here the later ones wait for a turn of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

__all__ = ["Turns"]

#: How many calls begin in a turn, and for how long, as computed by the loop's thread: time in which
#: other processes had the core would leave too few calls to a turn. A turn may take longer by one
#: call, and by what other tasks do in it.
_MOST_CALLS: Final = 32
_TURN_S: Final = 0.004


class Turns:
    """The turns of one event loop, in which calls begin in their order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_counting = False
        #: When this turn began, how many calls have begun in it, and how many may.
        self._began_s = 0.0
        self._begun = 0
        self._most = _MOST_CALLS

    async def begin(self) -> None:
        """Return at once if a call may begin in this turn, else in a later one."""
        if not self._is_counting:
            self._is_counting = True
            self._begin_turn()
        if not self._waiting and self._has_time:
            self._begun += 1
            return
        future = self._loop.create_future()
        self._waiting.append(future)
        await future

    @property
    def _has_time(self) -> bool:
        if not self._begun:
            return True
        return self._begun < self._most and time.thread_time() - self._began_s < _TURN_S

    def _begin_turn(self) -> None:
        self._began_s, self._begun = time.thread_time(), 0
        self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """Let the next calls begin. It runs in the next turn, after those that were let begin."""
        if not self._waiting:
            self._is_counting, self._most = False, _MOST_CALLS
            return
        # As many as there is time for, if each takes as long as those of the last turn.
        took_s = time.thread_time() - self._began_s
        fitting = int(self._begun * _TURN_S / took_s) if took_s > 0 else _MOST_CALLS
        self._most = min(max(1, fitting), 2 * self._most, _MOST_CALLS)
        begun = 0
        while self._waiting and begun < self._most:
            future = self._waiting.popleft()
            if not future.done():  # Its caller was not cancelled.
                future.set_result(None)
                begun += 1
        self._begin_turn()
        self._begun = begun
