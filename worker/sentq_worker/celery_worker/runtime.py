"""The parts of one worker, which Celery's hooks share."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentq.contract import TASK_NAME
from sentq_worker.broker.leases import Leases
from sentq_worker.celery_worker.canvas.callbacks import BatchCallbacks, CallbacksOfJobs
from sentq_worker.celery_worker.canvas.follow import FollowRules
from sentq_worker.celery_worker.encryption import JobEncryption
from sentq_worker.celery_worker.loop_watchdog import LoopWatchdog
from sentq_worker.celery_worker.schedule.job_schedule import JobSchedule
from sentq_worker.celery_worker.shutdown import Shutdown
from sentq_worker.celery_worker.watchdog import Watchdog
from sentq_worker.jobs.ack_handles import PreparedResults
from sentq_worker.jobs.dispatcher import Dispatcher
from sentq_worker.jobs.executor import BatchExecutor
from sentq_worker.monitoring.endpoint import MonitoringEndpoint
from sentq_worker.monitoring.reading import EngineReading, Vitals
from sentq_worker.reports.roll import RollPoller
from sentq_worker.reports.start_check import StartCheck
from sentq_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["WorkerRuntime", "runtime_of"]


@dataclass(frozen=True, slots=True)
class WorkerRuntime:
    """The parts of one worker. Each lives as long as the worker.

    Attributes:
        settings: The worker's settings.
        encryption: Reads the texts of jobs, and encrypts outcomes.
        follow_rules: The tasks that may follow a job, and their queues.
        job_callbacks: Checks the callbacks of jobs, and makes their messages.
        batch_callbacks: Publishes the callbacks of complete batches.
        executor: Scores batches of jobs.
        dispatcher: Owns jobs from delivery to completion.
        start_check: Refuses a start beside workers of another model.
        roll: Reads which model serves.
        leases: Renews what this worker has in flight.
        schedule: Keeps jobs with an eta in Redis until they are due.
        shutdown: Handles the signals that end the worker.
        watchdog: Ends a worker whose engine hangs.
        loop_watchdog: Ends a worker whose event loop stands still.
        endpoint: Serves metrics and probes.
        prepared: The results of jobs whose task Celery is about to run.
    """

    settings: WorkerSettings
    encryption: JobEncryption
    follow_rules: FollowRules
    job_callbacks: CallbacksOfJobs
    batch_callbacks: BatchCallbacks
    executor: BatchExecutor
    dispatcher: Dispatcher
    start_check: StartCheck
    roll: RollPoller
    leases: Leases
    schedule: JobSchedule
    shutdown: Shutdown
    watchdog: Watchdog
    loop_watchdog: LoopWatchdog
    endpoint: MonitoringEndpoint
    prepared: PreparedResults

    def reading(self) -> EngineReading:
        """Return the state of the engine, for metrics. Any thread may call this."""
        engine = None
        with contextlib.suppress(RuntimeError):  # No model is loaded.
            engine = self.executor.info
        states = self.executor.breaker_states
        return EngineReading(
            in_flight_jobs=self.dispatcher.in_flight_jobs,
            busy_s=self.executor.busy_s,
            engine=engine,
            breakers={name: state for name, state in states._asdict().items() if state},
            counts=self.executor.counts,
            models=self.executor.models,
            roll=self.executor.roll,
        )

    def vitals(self) -> Vitals:
        """Return what probes ask. Any thread may call this."""
        answered_at = self.leases.answered_at
        return Vitals(
            is_loading=self.shutdown.is_loading,
            is_ending=self.shutdown.has_begun,
            is_consuming=self.loop_watchdog.is_watching,
            loop_still_s=self.loop_watchdog.still_s,
            loop_limit_s=self.loop_watchdog.limit_s,
            engine_stalled_s=self.executor.stalled_s(),
            engine_limit_s=self.settings.batch_limit_s,
            is_device_lost=self.executor.is_lost,
            redis_silent_s=None if answered_at is None else time.monotonic() - answered_at,
        )


def runtime_of(app: Celery) -> WorkerRuntime:
    """Return the parts of the worker that this app is for. Its task `sentq.score` holds them."""
    runtime: WorkerRuntime = app.tasks[TASK_NAME].runtime
    return runtime
