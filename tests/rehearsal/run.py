"""A run: a load, a way to scale, and what came of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Self

import redis

from sentq import Client
from sentq.dev.embedded import find_redis_server
from sentq.errors import JobError
from sentq.job import Job
from tests.rehearsal.deployment import Deployment, EndedPod
from tests.rehearsal.keda import Autoscaler, ScaledObject
from tests.rehearsal.shipped import shipped_worker
from tests.rehearsal.worker import TEXTS_PER_S
from tests.support.monitoring.scrape import get
from tests.support.network.namespaces import Network
from tests.support.ports import free_port
from tests.support.processes import LoggedProcess, RedisProcess, eventually
from tests.support.workers.standin import has_hash_scores

__all__ = ["Run", "Sample", "rehearse"]

_STEP_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Sample:
    """A second of a run.

    Attributes:
        at_s: Seconds since its start.
        replicas: How many workers the autoscaler wants.
        ready: How many of them take jobs.
        backlog_jobs: `ready_jobs` of `/v1/scale`.
        oldest_s: The age of the oldest job that waits or is in flight.
    """

    at_s: float
    replicas: int
    ready: int
    backlog_jobs: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run.

    Attributes:
        samples: One for each second.
        changes: Each change of the number of workers: when, from how many, to how many.
        ended: The workers that ended before the run did.
        jobs: How many were sent.
        lost: How many have no outcome, or a wrong one.
    """

    samples: tuple[Sample, ...]
    changes: tuple[tuple[float, int, int], ...]
    ended: tuple[EndedPod, ...]
    jobs: int
    lost: int

    @property
    def figures(self) -> dict[str, float]:
        """The figures to print."""
        directions = [after > before for _, before, after in self.changes]
        return {
            "jobs": self.jobs,
            "lost": self.lost,
            "oldest_s": round(max(each.oldest_s for each in self.samples), 1),
            "most_workers": max(each.replicas for each in self.samples),
            "worker_minutes": round(sum(each.replicas for each in self.samples) / 60, 1),
            "changes": len(self.changes),
            "direction_changes": sum(one != other for one, other in pairwise(directions)),
            "starts_from_zero": sum(before == 0 for _, before, _ in self.changes),
            "ended_workers": len(self.ended),
            "ended_with_jobs": sum(each.in_flight_jobs > 0 for each in self.ended),
            "killed_workers": sum(each.exit_code != 0 for each in self.ended),
            "longest_end_s": round(max((each.took_s for each in self.ended), default=0.0), 1),
            # Above some seconds, the machine was too busy for this to say anything.
            "longest_gap_s": round(
                max(after.at_s - before.at_s for before, after in pairwise(self.samples)), 1
            ),
        }


class _Site:
    """Redis, the exporter, a client, and workers in namespaces of their own."""

    def __init__(self, folder: Path, texts_per_s: float) -> None:
        self._folder = folder
        self._texts_per_s = texts_per_s
        self._stack = ExitStack()
        self.jobs: list[Job] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            network = stack.enter_context(Network())
            options = ("--bind", "127.0.0.1", network.address, "--protected-mode", "no")
            server = RedisProcess(find_redis_server(), self._folder, *options).start()
            stack.callback(server.stop)
            self.redis: redis.Redis = stack.enter_context(server.client())
            self._client = stack.enter_context(Client(broker_url=server.url))
            self._scale_url = self._start_exporter(stack, server.url)
            environment = {
                "SENTQ_BROKER_URL": f"redis://{network.address}:{server.port}/0",
                TEXTS_PER_S: str(self._texts_per_s),
            }
            self.workers = Deployment(network, self._folder, shipped_worker(), environment)
            stack.callback(self.workers.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_exporter(self, stack: ExitStack, broker_url: str) -> str:
        port = free_port()
        command = [sys.executable, "-m", "sentq.cli", "exporter", "--port", str(port)]
        environment = {"SENTQ_BROKER_URL": broker_url}
        exporter = LoggedProcess(command, environment, self._folder / "exporter.log")
        stack.callback(exporter.stop)
        url = f"http://127.0.0.1:{port}/v1/scale"
        eventually(lambda: get(url).status == 200, within_s=60, what="an exporter")
        return url

    def send(self, count: int) -> None:
        """Send jobs of one text each."""
        first = len(self.jobs)
        self.jobs += self._client.submit_many(_text(first + n) for n in range(count))

    def scale(self) -> dict[str, float]:
        """Return `/v1/scale`, as KEDA reads it."""
        found: dict[str, float] = json.loads(get(self._scale_url).body)
        return found

    def values(self, scaled: ScaledObject) -> list[float]:
        """Return the value of each trigger: a field of `/v1/scale`, or the length of a list."""
        scale = self.scale()
        return [
            scale[each.name] if each.name in scale else float(self.redis.llen(each.name))
            for each in scaled.triggers
        ]

    def lost(self) -> int:
        """Return how many jobs have no outcome, or another one than they must have."""
        results = self._client.results(self.jobs, timeout=60)
        return sum(
            isinstance(result, JobError) or not has_hash_scores(result, _text(number))
            for number, result in enumerate(results)
        )


def rehearse(
    folder: Path, scaled: ScaledObject, sends: Sequence[int], *, texts_per_s: float
) -> Run:
    """Send a load, and scale workers meanwhile.

    Args:
        folder: For data and logs.
        scaled: The way to scale.
        sends: How many jobs are sent in each second.
        texts_per_s: The rate of a worker.

    Raises:
        NoNamespaces: This machine cannot have them.
    """
    samples: list[Sample] = []
    changes: list[tuple[float, int, int]] = []
    with _Site(folder, texts_per_s) as site:
        started_s = time.monotonic()
        autoscaler = Autoscaler(scaled, 0.0)
        while len(samples) < len(sends):
            now_s = time.monotonic() - started_s
            if autoscaler.is_due(now_s):
                before = site.workers.replicas
                after = autoscaler.decide(now_s, before, site.values(scaled))
                if after != before:
                    changes.append((round(now_s, 1), before, after))
                    site.workers.scale(after)
            site.workers.step()
            if now_s >= len(samples):
                samples.append(_sample(site, now_s))
                site.send(sends[len(samples) - 1])
            time.sleep(_STEP_S)
        ended = tuple(site.workers.ended)
        # What is left, if there are no workers, would be no fault of theirs.
        site.workers.scale(max(1, site.workers.replicas))
        while not site.workers.ready:
            site.workers.step()
        return Run(tuple(samples), tuple(changes), ended, len(site.jobs), site.lost())


def _sample(site: _Site, now_s: float) -> Sample:
    scale = site.scale()
    workers = site.workers
    return Sample(
        round(now_s, 1),
        workers.replicas,
        workers.ready,
        int(scale["ready_jobs"]),
        scale["oldest_s"] or 0.0,
    )


def _text(number: int) -> str:
    return f"review {number}"
