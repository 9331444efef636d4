"""The result of each accepted job, from the records of producers and workers, the published
results, and Redis."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import orjson
import redis

from sentq.wire.dead_letters import DEAD_LETTERS_KEY
from tests.chaos.faults import Injected
from tests.chaos.jobs import texts_of
from tests.chaos.producer import accepted_by, unknown_by
from tests.chaos.schedule import NETWORK, FaultKind
from tests.chaos.site import ChaosSite
from tests.support.celery.published_results import PublishedResults
from tests.support.workers.standin import hash_score

__all__ = ["Audit", "IsRight", "audit", "is_hashed", "settle"]

#: Whether the outcome of a text is right.
IsRight = Callable[[str, Mapping[str, Any]], bool]

_READ_AT_ONCE: Final = 1000

#: The queues, with kombu's four priorities.
_QUEUES: Final = [
    f"{queue}{priority}"
    for queue in ("sentq", "sentq.bulk")
    for priority in ("", "\x06\x163", "\x06\x166", "\x06\x169")
]

#: How long after its end a fault can cause a second run of a job: until the worker is ready again.
_AFTER_NETWORK_S: Final = 20.0
_AFTER_REDIS_S: Final = 10.0


@dataclass
class Audit:
    """Counts of the jobs of a run. Times are in seconds."""

    accepted: int = 0
    unknown: int = 0
    answered: int = 0
    lost: int = 0
    failed: int = 0
    wrong: int = 0
    answered_twice: int = 0
    dead_letters: int = 0
    left_in_queues: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    executed_twice: dict[str, int] = field(default_factory=dict)
    executed_twice_per_kill: float = 0.0
    jobs_per_round: float = 0.0
    largest_round: int = 0
    after_kill_s: list[float] = field(default_factory=list)
    after_half_open_s: list[float] = field(default_factory=list)
    after_redis_s: list[float] = field(default_factory=list)
    unexpected_exits: list[str] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, Any]:
        """The figures to print, with the median and maximum of times."""
        figures = dict(vars(self))
        for name in ("after_kill_s", "after_half_open_s", "after_redis_s"):
            times = figures.pop(name)
            figures[f"{name}_p50"] = round(statistics.median(times), 2) if times else None
            figures[f"{name}_max"] = round(max(times), 2) if times else None
        figures["unexpected_exits"] = len(self.unexpected_exits)
        return figures


def is_hashed(text: str, outcome: Mapping[str, Any]) -> bool:
    """Whether an outcome is that of the stand-in worker."""
    return bool(outcome.get("score") == hash_score(text))


def settle(site: ChaosSite, *, within_s: float, quiet_s: float) -> None:
    """Wait until no job is queued or in flight and no result came for `quiet_s` seconds.

    Returns also after `within_s` seconds without a change.
    """
    changed_s, before = time.monotonic(), (-1, -1)
    with site.redis.client() as client:
        while True:
            now = time.monotonic()
            left = _left(client)
            state = left, len(site.published.at_s)
            if state != before:
                changed_s, before = now, state
            if now - changed_s > (within_s if left else quiet_s):
                return
            time.sleep(0.1)


def audit(site: ChaosSite, done: Sequence[Injected], *, is_right: IsRight) -> Audit:
    """Read all records, and count the results of the jobs."""
    found = Audit(faults=dict(Counter(str(each.fault.kind) for each in done)))
    accepted: dict[str, str] = {}
    for order in site.orders:
        accepted |= accepted_by(order)
    found.accepted = len(accepted)
    found.unknown = sum(len(unknown_by(order)) for order in site.orders)
    with site.redis.client() as client:
        _read_results(found, client, accepted, site.published, is_right)
        found.dead_letters = int(client.xlen(DEAD_LETTERS_KEY))
        found.left_in_queues = _left(client)
    found.answered_twice += len(site.published.duplicates)
    _read_batches(found, site, done)
    _read_times(found, site, done, accepted)
    for worker in site.workers:
        found.unexpected_exits += worker.unexpected
    return found


def _left(client: redis.Redis) -> int:
    """Return the number of jobs that are queued or in flight."""
    with client.pipeline() as pipe:  # In one transaction, because workers move jobs meanwhile.
        pipe.hlen("unacked")
        for queue in _QUEUES:
            pipe.llen(queue)
        return sum(pipe.execute())


def _read_results(
    found: Audit,
    client: redis.Redis,
    accepted: Mapping[str, str],
    published: PublishedResults,
    is_right: IsRight,
) -> None:
    ids = list(accepted)
    for first in range(0, len(ids), _READ_AT_ONCE):
        some = ids[first : first + _READ_AT_ONCE]
        documents: Any = client.mget([f"celery-task-meta-{job_id}" for job_id in some])
        for job_id, raw in zip(some, documents, strict=True):
            document: dict[str, Any] = orjson.loads(raw) if raw else {"status": None}
            if document["status"] in ("FAILURE", "REVOKED"):
                found.failed += 1
            elif document["status"] != "SUCCESS":
                found.lost += 1
                continue
            else:
                found.answered += 1
                texts, outcomes = texts_of(accepted[job_id]), document["result"]["outcomes"]
                rights = map(is_right, texts, outcomes)
                found.wrong += not (len(texts) == len(outcomes) and all(rights))
            found.answered_twice += job_id not in published.duplicates and published.first.get(
                job_id, hash(raw)
            ) != hash(raw)


def _read_batches(found: Audit, site: ChaosSite, done: Sequence[Injected]) -> None:
    """Count the batches, and the jobs that were executed more than once, by cause."""
    runs: dict[str, list[tuple[float, Path, int]]] = defaultdict(list)
    sizes: list[int] = []
    for number, each in enumerate(site.workers):
        for run in each.runs:
            for at_s, names in _batches(run.record):
                sizes.append(len(names))
                for name in names:
                    runs[name].append((at_s, run.record, number))
    found.jobs_per_round = round(statistics.mean(sizes), 1) if sizes else 0.0
    found.largest_round = max(sizes, default=0)
    causes: Counter[str] = Counter()
    for several in runs.values():
        several.sort()
        for (at_s, record, number), (again_s, _, _) in pairwise(several):
            causes[_cause(done, record, number, at_s, again_s)] += 1
    found.executed_twice = dict(causes)
    kills = found.faults.get(FaultKind.KILL, 0)
    found.executed_twice_per_kill = round(causes[FaultKind.KILL] / kills, 1) if kills else 0.0


def _batches(record: Path) -> list[tuple[float, list[str]]]:
    """Return the batches of a process: the start of each, and the names of its jobs."""
    if not record.exists():
        return []
    *lines, _half = record.read_text().split("\n")
    return [(float(at_s), names) for at_s, *names in (line.split(" ") for line in lines)]


def _cause(done: Sequence[Injected], record: Path, number: int, at_s: float, again_s: float) -> str:
    """Return why a job that a process started at `at_s` was started again at `again_s`.

    A kill of the process takes precedence over other faults.
    """
    causes = set()
    for each in done:
        fault, after_s = each.fault, 0.0
        if fault.kind is FaultKind.REDIS:
            after_s = _AFTER_REDIS_S
        elif fault.kind in NETWORK:
            after_s = _AFTER_NETWORK_S
            if fault.target != number:
                continue
        elif each.run is None or each.run.record != record:
            continue
        if each.began_s <= again_s and at_s <= each.ended_s + after_s:
            causes.add("network" if fault.kind in NETWORK else str(fault.kind))
    order = (FaultKind.KILL, "network", FaultKind.REDIS, FaultKind.TERM)
    return next((str(cause) for cause in order if cause in causes), "nothing")


def _read_times(
    found: Audit, site: ChaosSite, done: Sequence[Injected], accepted: Mapping[str, str]
) -> None:
    """Measure the time from the end of each fault until work continued."""
    published = site.published
    ids = {name: job_id for job_id, name in accepted.items()}
    for each in done:
        kind = each.fault.kind
        if kind is FaultKind.KILL:
            times = [
                published.at_s[job_id] for job_id in each.in_flight if job_id in published.at_s
            ]
            if times:
                found.after_kill_s.append(max(0.0, max(times) - each.ended_s))
        elif kind is FaultKind.REDIS:
            first_s = published.first_after(each.ended_s)
            if first_s is not None:
                found.after_redis_s.append(first_s - each.ended_s)
        elif kind is FaultKind.HALF_OPEN and each.run is not None:
            # The first batch that the same worker started after the fault, once it has results.
            answered = [
                published.at_s[ids[name]]
                for at_s, names in _batches(each.run.record)
                if at_s > each.ended_s
                for name in names
                if name in ids and published.at_s.get(ids[name], 0.0) > each.ended_s
            ]
            if answered:
                found.after_half_open_s.append(min(answered) - each.ended_s)
