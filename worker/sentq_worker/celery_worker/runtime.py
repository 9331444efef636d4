"""The parts of one worker, which Celery's hooks share."""

from __future__ import annotations

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
        leases: Renews what this worker has in flight.
        schedule: Keeps jobs with an eta in Redis until they are due.
        shutdown: Handles the signals that end the worker.
        watchdog: Ends a worker whose engine hangs.
        loop_watchdog: Ends a worker whose event loop stands still.
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
    leases: Leases
    schedule: JobSchedule
    shutdown: Shutdown
    watchdog: Watchdog
    loop_watchdog: LoopWatchdog
    prepared: PreparedResults


def runtime_of(app: Celery) -> WorkerRuntime:
    """Return the parts of the worker that this app is for. Its task `sentq.score` holds them."""
    runtime: WorkerRuntime = app.tasks[TASK_NAME].runtime
    return runtime
