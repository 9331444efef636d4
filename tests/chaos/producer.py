"""A producer process, which sends jobs at a steady rate and records the accepted ones.

A job is added to a file only after `submit` has returned, as a line `<name> <job id>`. A producer
with keys sends an unconfirmed job again under the same key, until it is confirmed. A producer
without keys records the job as unknown, in a second file, and continues with other jobs.
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

__all__ = ["ProducerOrder", "accepted_by", "main", "unknown_by"]

_VARIABLE: Final = "CHAOS_ORDER"

#: The largest number of jobs that are sent together.
_MOST_TOGETHER: Final = 500

_PAUSE_S: Final = 0.02


@dataclass(frozen=True)
class ProducerOrder:
    """The jobs that a producer sends.

    Attributes:
        name: The prefix of the names of its jobs.
        url: The address of Redis.
        folder: Where the producer writes its files.
        jobs: The number of jobs that must be accepted.
        duration_s: The time to send them in, if there is no fault.
        seed: Determines the size and queue of each submission.
        has_keys: Whether the jobs have idempotency keys.
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
        """The environment that passes the order to a producer process."""
        return {_VARIABLE: orjson.dumps(asdict(self)).decode()}

    @property
    def accepted_file(self) -> Path:
        return Path(self.folder, f"{self.name}.accepted")

    @property
    def unknown_file(self) -> Path:
        return Path(self.folder, f"{self.name}.unknown")


def accepted_by(order: ProducerOrder) -> dict[str, str]:
    """Return the names of accepted jobs by job id; an incomplete last line is ignored."""
    lines = _lines(order.accepted_file)
    return {job_id: name for name, job_id in (line.split() for line in lines)}


def unknown_by(order: ProducerOrder) -> list[str]:
    """Return the names of the jobs whose acceptance is unknown."""
    return _lines(order.unknown_file)


def _lines(file: Path) -> list[str]:
    if not file.exists():
        return []
    *lines, _half = file.read_text().split("\n")
    return lines


class Producer:
    """Sends the jobs of an order."""

    def __init__(self, order: ProducerOrder) -> None:
        self._order = order
        self._random = random.Random(order.seed)
        self._client = Client(broker_url=order.url)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._accepted = os.open(order.accepted_file, flags, 0o644)
        self._unknown = os.open(order.unknown_file, flags, 0o644)
        self._next = 0

    def run(self) -> None:
        """Send jobs until all are accepted."""
        order = self._order
        started = time.monotonic()
        accepted = 0
        while accepted < order.jobs:
            passed = (time.monotonic() - started) / max(order.duration_s, 0.001)
            due = min(order.jobs, int(order.jobs * passed) + 1) - accepted
            if due < 1:
                time.sleep(_PAUSE_S)
                continue
            # Some jobs are sent one by one, as a web process does.
            together = 1 if self._random.random() < 0.2 else min(due, _MOST_TOGETHER)
            names = [f"{order.name}-{self._next + n}" for n in range(together)]
            self._next += together
            accepted += self._send(names)

    def _send(self, names: Sequence[str]) -> int:
        """Send jobs, and return the number of confirmed ones."""
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
    """Send the jobs of the order in the environment."""
    Producer(ProducerOrder(**orjson.loads(os.environ[_VARIABLE]))).run()


if __name__ == "__main__":
    main()
