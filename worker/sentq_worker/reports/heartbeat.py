"""The worker's reports in Redis, one with each tick of its leases."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import redis

from sentq.contract import MAIN_MODEL
from sentq.version import VERSION, find_commit
from sentq.wire.agreement import describe_labels
from sentq.wire.reports import (
    MIN_REPORT_LIFETIME_S,
    ReportedBudget,
    ReportedModel,
    WorkerReport,
    remove_report,
    write_report,
)
from sentq.wire.roll.report import RollReport
from sentq_worker.engine.base import EngineInfo
from sentq_worker.engine.counts import BudgetUse
from sentq_worker.reports.history import HistoryWriter
from sentq_worker.reports.pace import Pace
from sentq_worker.reports.peers import PeerComparison
from sentq_worker.reports.recent import RecentWork

__all__ = ["HeartbeatWriter", "WorkerSnapshot"]

#: How many ticks may fail before a report expires.
_MISSED_TICKS: Final = 4


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """The state of a worker.

    Attributes:
        jobs_finished: How many jobs it has completed since it started.
        in_flight_jobs: How many it has taken and not completed.
        texts_finished: How many texts have an outcome since it started.
        occupied_s: For how many seconds there were jobs in the engine since it started.
        oldest_sent_at_ms: When the oldest job in flight was sent, in Unix milliseconds by its
            sender's clock; None without one, or if its id does not tell.
        totals: What it has completed since it started, by field of the history.
        engine: The engine that scores; None while no model is loaded.
        breaker: The state of the Hub's breaker, if there is one.
        local_breaker: The state of the local engine's breaker, if there is one.
        waiting_for: Why the engine is not available at the moment; None if it is.
        hub_budget: The limits of the Hub's budget, and what was used of each.
        models: The engines of all local models, by name.
        model_texts: How many texts have an outcome of each of them, by name.
        roll: What it does for a roll; None if no model can be rolled.
    """

    jobs_finished: int
    in_flight_jobs: int
    engine: EngineInfo | None
    breaker: str | None = None
    local_breaker: str | None = None
    waiting_for: str | None = None
    texts_finished: int = 0
    occupied_s: float = 0.0
    oldest_sent_at_ms: float | None = None
    totals: Mapping[str, int] = field(default_factory=dict)
    hub_budget: Sequence[BudgetUse] = ()
    models: Mapping[str, EngineInfo] = field(default_factory=dict)
    model_texts: Mapping[str, int] = field(default_factory=dict)
    roll: RollReport | None = None


class _ReportingChannel(Protocol):
    """What a report tells of a channel."""

    @property
    def worker(self) -> str | None: ...

    @property
    def active_queues(self) -> Collection[str]: ...

    def full_key(self, name: str) -> str: ...


class HeartbeatWriter:
    """Writes the reports of one worker.

    Args:
        snapshot: Returns the state of the worker. Called in the thread of the leases.
        label_names: Returns the names in outcomes of the labels of an engine, which is that of the
            model of this name.
    """

    def __init__(
        self,
        snapshot: Callable[[], WorkerSnapshot],
        label_names: Callable[[EngineInfo, str], Sequence[str]] = lambda engine, _: engine.labels,
    ) -> None:
        self._snapshot = snapshot
        self._label_names = label_names
        self._peers = PeerComparison()
        self._process = secrets.token_hex(4)
        self._started_at_s: float | None = None
        self._recent = RecentWork()
        self._pace = Pace()
        self._history = HistoryWriter()

    def write(
        self, channel: _ReportingChannel, connection: redis.Redis, *, now_s: float, tick_s: float
    ) -> None:
        """Write a report of the worker that uses a channel, and compare it with others. Add what
        was completed since the last report to the history.

        Raises:
            redis.RedisError: One of them was not written.
        """
        if channel.worker is None:
            return
        prefix = channel.full_key("")
        snapshot = self._snapshot()
        report = self._report(snapshot, channel.worker, channel.active_queues, now_s=now_s)
        self._peers.compare(report, connection, prefix=prefix)
        lifetime_s = max(MIN_REPORT_LIFETIME_S, round(_MISSED_TICKS * tick_s))
        write_report(connection, report, lifetime_s=lifetime_s, prefix=prefix)
        self._history.write(connection, snapshot.totals, now_s=now_s, prefix=prefix)

    def report(self, worker: str, queues: Collection[str], *, now_s: float) -> WorkerReport:
        """Return a report of this process.

        Args:
            worker: The worker's name.
            queues: The queues that it reads.
            now_s: Redis' time, in Unix seconds.
        """
        return self._report(self._snapshot(), worker, queues, now_s=now_s)

    def _report(
        self, snapshot: WorkerSnapshot, worker: str, queues: Collection[str], *, now_s: float
    ) -> WorkerReport:
        if self._started_at_s is None:
            self._started_at_s = now_s
        engine, oldest_ms = snapshot.engine, snapshot.oldest_sent_at_ms
        for each in (self._pace, self._recent):
            each.measure(snapshot.jobs_finished, snapshot.occupied_s)
        serving = snapshot.roll.serving if snapshot.roll else MAIN_MODEL
        names = self._label_names(engine, serving) if engine else ()
        labels, labels_digest = describe_labels(names)
        return WorkerReport(
            worker=worker,
            at_s=now_s,
            started_at_s=self._started_at_s,
            queues=tuple(sorted(queues)),
            jobs_finished=snapshot.jobs_finished,
            jobs_per_s=self._recent.jobs_per_s,
            busy_share=self._recent.busy_share,
            pace_jobs_per_s=self._pace.jobs_per_s,
            texts_finished=snapshot.texts_finished,
            in_flight_jobs=snapshot.in_flight_jobs,
            oldest_sent_at_s=None if oldest_ms is None else oldest_ms / 1000,
            model=engine.model if engine else None,
            backend=engine.backend if engine else None,
            dtype=engine.dtype if engine else None,
            breaker=snapshot.breaker,
            local_breaker=snapshot.local_breaker,
            waiting_for=snapshot.waiting_for,
            version=VERSION,
            commit=find_commit(),
            process=self._process,
            revision=engine.revision if engine else None,
            labels=labels,
            labels_digest=labels_digest,
            hub_budget=tuple(ReportedBudget(**use._asdict()) for use in snapshot.hub_budget),
            models=_reported_models(snapshot),
            roll=snapshot.roll,
        )

    def withdraw(self, channel: _ReportingChannel, connection: redis.Redis) -> None:
        """Remove the report, and add the last jobs to the history: the worker ends.

        Raises:
            redis.RedisError: The last report stays for some seconds, or the last jobs are missing.
        """
        if channel.worker is not None:
            prefix = channel.full_key("")
            remove_report(connection, channel.worker, prefix=prefix)
            now_s = float(connection.time()[0])
            self._history.write(connection, self._snapshot().totals, now_s=now_s, prefix=prefix)


def _reported_models(snapshot: WorkerSnapshot) -> tuple[ReportedModel, ...]:
    """Return what a report says of each model; nothing if there is only one."""
    if len(snapshot.models) <= 1:
        return ()
    return tuple(
        ReportedModel(
            name=name,
            model=info.model,
            revision=info.revision,
            dtype=info.dtype,
            texts_finished=snapshot.model_texts.get(name, 0),
        )
        for name, info in snapshot.models.items()
    )
