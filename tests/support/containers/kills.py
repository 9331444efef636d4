"""Kills of containers at random, while jobs are under way."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["Killable", "Killer"]

#: Services and their share in the kills.
_SHARES: Final = {"worker": 6, "gateway": 2, "redis": 2}

_POLL_S: Final = 0.2


class Killable(Protocol):
    """Containers, such as those of `ComposeStack`."""

    def containers(self, service: str, /) -> list[str]:
        """Return the names of the containers of a service."""

    def kill(self, container: str, /) -> None:
        """Kill a container."""


class Killer(threading.Thread):
    """Kills containers, each as soon as so many jobs are done; restart policies bring them back.

    Args:
        stack: The containers.
        kills: How many kills.
        jobs: How many jobs there will be; the kills are spread over them.
        done: Returns how many are done.
        seed: Of the random choices.
    """

    def __init__(
        self, stack: Killable, kills: int, jobs: int, done: Callable[[], int], *, seed: int
    ) -> None:
        super().__init__(daemon=True)
        self.killed: Counter[str] = Counter()
        self._stack = stack
        self._done = done
        self._chance = random.Random(seed)
        # None among the last jobs, which the last kill must not find done.
        self._moments = sorted(self._chance.sample(range(int(jobs * 0.95)), kills))
        self._end = threading.Event()

    def run(self) -> None:
        """Kill, until all kills are done or it is stopped."""
        for moment in self._moments:
            while self._done() < moment:
                if self._end.wait(_POLL_S):
                    return
            (service,) = self._chance.choices([*_SHARES], [*_SHARES.values()])
            self._stack.kill(self._chance.choice(self._stack.containers(service)))
            self.killed[service] += 1

    def stop(self) -> None:
        """End, at the latest after the kill that is under way."""
        self._end.set()
        self.join()
