"""Where each accepted job ended: what the oracle, the records of the workers, those who heard the
answers, and Redis say, put together."""

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
from tests.chaos.answers import PublishedOutcomes
from tests.chaos.faults import Inflicted
from tests.chaos.jobs import texts_of
from tests.chaos.producer import accepted_by, unknown_by
from tests.chaos.schedule import NETWORK, FaultKind
from tests.chaos.site import ChaosSite
from tests.support.workers.standin import hash_score

__all__ = ["Audit", "Is", "audit", "is_hashed", "settle"]

#: Whether what was answered to a text is right.
Is = Callable[[str, Mapping[str, Any]], bool]

_AT_ONCE: Final = 1000

#: The queues, with kombu's four priorities.
_QUEUES: Final = [
    f"{queue}{priority}"
    for queue in ("sentq", "sentq.bulk")
    for priority in ("", "\x06\x163", "\x06\x166", "\x06\x169")
]

#: For how long after it ended a fault may be why a job is run again: until the worker works again.
_AFTER_NETWORK_S: Final = 20.0
_AFTER_REDIS_S: Final = 10.0


@dataclass
class Audit:
    """What became of the jobs of a run. Times are in seconds."""

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
        """What can be printed: times as their median and maximum."""
        figures = dict(vars(self))
        for name in ("after_kill_s", "after_half_open_s", "after_redis_s"):
            times = figures.pop(name)
            figures[f"{name}_p50"] = round(statistics.median(times), 2) if times else None
            figures[f"{name}_max"] = round(max(times), 2) if times else None
        figures["unexpected_exits"] = len(self.unexpected_exits)
        return figures


def is_hashed(text: str, outcome: Mapping[str, Any]) -> bool:
    """Whether the stand-in's answer is right."""
    return bool(outcome.get("score") == hash_score(text))


def settle(site: ChaosSite, *, within_s: float, quiet_s: float) -> None:
    """Wait until every queue is empty, nobody holds a job, and no answer came for `quiet_s`; or
    until `within_s` have passed without a change."""
    changed_s, before = time.monotonic(), (-1, -1)
    with site.redis.client() as client:
        while True:
            now = time.monotonic()
            left = _left(client)
            state = left, len(site.answers.at_s)
            if state != before:
                changed_s, before = now, state
            if now - changed_s > (within_s if left else quiet_s):
                return
            time.sleep(0.1)


def audit(site: ChaosSite, done: Sequence[Inflicted], *, is_right: Is) -> Audit:
    """Read everything and say what became of the jobs."""
    found = Audit(faults=dict(Counter(str(each.fault.kind) for each in done)))
    accepted: dict[str, str] = {}
    for order in site.orders:
        accepted |= accepted_by(order)
    found.accepted = len(accepted)
    found.unknown = sum(len(unknown_by(order)) for order in site.orders)
    with site.redis.client() as client:
        _read_answers(found, client, accepted, site.answers, is_right)
        found.dead_letters = int(client.xlen(DEAD_LETTERS_KEY))
        found.left_in_queues = _left(client)
    found.answered_twice += len(site.answers.again)
    _read_rounds(found, site, done)
    _read_times(found, site, done, accepted)
    for place in site.places:
        found.unexpected_exits += place.unexpected
    return found


def _left(client: redis.Redis) -> int:
    """How many jobs are in a queue or in somebody's hands."""
    return int(client.hlen("unacked")) + sum(int(client.llen(queue)) for queue in _QUEUES)


def _read_answers(
    found: Audit,
    client: redis.Redis,
    accepted: Mapping[str, str],
    heard: PublishedOutcomes,
    is_right: Is,
) -> None:
    ids = list(accepted)
    for first in range(0, len(ids), _AT_ONCE):
        some = ids[first : first + _AT_ONCE]
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
            found.answered_twice += job_id not in heard.again and heard.first.get(
                job_id, hash(raw)
            ) != hash(raw)


def _read_rounds(found: Audit, site: ChaosSite, done: Sequence[Inflicted]) -> None:
    """What was executed more than once, and why."""
    runs: dict[str, list[tuple[float, Path, int]]] = defaultdict(list)
    sizes: list[int] = []
    for number, each in enumerate(site.places):
        for life in each.lives:
            for at_s, names in _rounds(life.record):
                sizes.append(len(names))
                for name in names:
                    runs[name].append((at_s, life.record, number))
    found.jobs_per_round = round(statistics.mean(sizes), 1) if sizes else 0.0
    found.largest_round = max(sizes, default=0)
    causes: Counter[str] = Counter()
    for several in runs.values():
        several.sort()
        for (at_s, record, place), (again_s, _, _) in pairwise(several):
            causes[_cause(done, record, place, at_s, again_s)] += 1
    found.executed_twice = dict(causes)
    kills = found.faults.get(FaultKind.KILL, 0)
    found.executed_twice_per_kill = round(causes[FaultKind.KILL] / kills, 1) if kills else 0.0


def _rounds(record: Path) -> list[tuple[float, list[str]]]:
    """The rounds of a process: when each began, and the names of its jobs."""
    if not record.exists():
        return []
    *lines, _half = record.read_text().split("\n")
    return [(float(at_s), names) for at_s, *names in (line.split(" ") for line in lines)]


def _cause(done: Sequence[Inflicted], record: Path, place: int, at_s: float, again_s: float) -> str:
    """Why a job that this process began at `at_s` was begun again: because it was killed in
    between, if it was, whatever else befell it."""
    causes = set()
    for each in done:
        fault, after_s = each.fault, 0.0
        if fault.kind is FaultKind.REDIS:
            after_s = _AFTER_REDIS_S
        elif fault.kind in NETWORK:
            after_s = _AFTER_NETWORK_S
            if fault.place != place:
                continue
        elif each.life is None or each.life.record != record:
            continue
        if each.began_s <= again_s and at_s <= each.ended_s + after_s:
            causes.add("network" if fault.kind in NETWORK else str(fault.kind))
    order = (FaultKind.KILL, "network", FaultKind.REDIS, FaultKind.TERM)
    return next((str(cause) for cause in order if cause in causes), "nothing")


def _read_times(
    found: Audit, site: ChaosSite, done: Sequence[Inflicted], accepted: Mapping[str, str]
) -> None:
    """How long it took until things went on."""
    heard = site.answers
    ids = {name: job_id for job_id, name in accepted.items()}
    for each in done:
        kind = each.fault.kind
        if kind is FaultKind.KILL:
            times = [heard.at_s[job_id] for job_id in each.held if job_id in heard.at_s]
            if times:
                found.after_kill_s.append(max(0.0, max(times) - each.ended_s))
        elif kind is FaultKind.REDIS:
            first_s = heard.first_after(each.ended_s)
            if first_s is not None:
                found.after_redis_s.append(first_s - each.ended_s)
        elif kind is FaultKind.HALF_OPEN and each.life is not None:
            # A round of that very worker, begun after, and answered.
            answered = [
                heard.at_s[ids[name]]
                for at_s, names in _rounds(each.life.record)
                if at_s > each.ended_s
                for name in names
                if name in ids and heard.at_s.get(ids[name], 0.0) > each.ended_s
            ]
            if answered:
                found.after_half_open_s.append(min(answered) - each.ended_s)
