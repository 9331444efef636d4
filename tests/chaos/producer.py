"""A producer, as a process of its own: sends jobs at a steady pace, and keeps the oracle.

What was accepted is added to a file only after `submit` has returned: `<name> <job id>` a line.
A producer with keys sends again, under the same keys, what nobody confirmed, until somebody does.
One without notes it as unknown, in a second file, and goes on with other jobs.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson

from sentq import Client
from sentq.errors import BrokerUnavailable, Overloaded, ResultsUnavailable
from tests.chaos.jobs import texts_of

__all__ = ["Order", "accepted_by", "main", "unknown_by"]

_VARIABLE: Final = "CHAOS_ORDER"

#: Jobs that are sent together, at most.
_MOST_TOGETHER: Final = 500

_PAUSE_S: Final = 0.02


@dataclass(frozen=True)
class Order:
    """What a producer is to do.

    `jobs` are accepted in the end, in `duration_s` where nothing breaks. `name` begins the names
    of its jobs; `folder` is where it leaves what it knows.
    """

    name: str
    url: str
    folder: str
    jobs: int
    duration_s: float
    seed: int
    has_keys: bool

    @property
    def environment(self) -> dict[str, str]:
        """What tells the producer's process."""
        return {_VARIABLE: orjson.dumps(asdict(self)).decode()}

    @property
    def accepted_file(self) -> Path:
        return Path(self.folder, f"{self.name}.accepted")

    @property
    def unknown_file(self) -> Path:
        return Path(self.folder, f"{self.name}.unknown")


def accepted_by(order: Order) -> dict[str, str]:
    """Ids and names of the jobs that were accepted; a half line at the end says nothing."""
    lines = _lines(order.accepted_file)
    return {job_id: name for name, job_id in (line.split() for line in lines)}


def unknown_by(order: Order) -> list[str]:
    """The names of jobs of which nobody knows whether they were accepted."""
    return _lines(order.unknown_file)


def _lines(file: Path) -> list[str]:
    if not file.exists():
        return []
    *lines, _half = file.read_text().split("\n")
    return lines


class Producer:
    """Sends the jobs of an order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._random = random.Random(order.seed)
        self._client = Client(broker_url=order.url)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._accepted = os.open(order.accepted_file, flags, 0o644)
        self._unknown = os.open(order.unknown_file, flags, 0o644)
        self._next = 0

    def run(self) -> None:
        """Send until all are accepted."""
        order = self._order
        started = time.monotonic()
        accepted = 0
        while accepted < order.jobs:
            passed = (time.monotonic() - started) / max(order.duration_s, 0.001)
            due = min(order.jobs, int(order.jobs * passed) + 1) - accepted
            if due < 1:
                time.sleep(_PAUSE_S)
                continue
            # Some jobs go one by one, as a web process sends them.
            together = 1 if self._random.random() < 0.2 else min(due, _MOST_TOGETHER)
            names = [f"{order.name}-{self._next + n}" for n in range(together)]
            self._next += together
            accepted += self._send(names)

    def _send(self, names: Sequence[str]) -> int:
        """Send jobs; returns how many were certainly accepted."""
        bulk = self._random.random() < 0.5
        count = 0
        while names:
            keys = list(names) if self._order.has_keys else None
            try:
                jobs = self._client.submit_many(map(texts_of, names), bulk=bulk, keys=keys)
                ids = [job.id for job in jobs]
            except (BrokerUnavailable, Overloaded, ResultsUnavailable) as error:
                ids = list(getattr(error, "accepted", ()))
            lines = [f"{name} {job_id}\n" for name, job_id in zip(names, ids, strict=False)]
            os.write(self._accepted, "".join(lines).encode())
            count += len(ids)
            names = names[len(ids) :]
            if names:
                time.sleep(_PAUSE_S)
            if not self._order.has_keys:
                os.write(self._unknown, "".join(f"{name}\n" for name in names).encode())
                break
        return count


def main() -> None:
    """Do what the environment says."""
    Producer(Order(**orjson.loads(os.environ[_VARIABLE]))).run()


if __name__ == "__main__":
    main()
