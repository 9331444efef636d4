"""The worker's Celery app: makes the parts of a worker and connects them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

from celery import Celery, signals

from sentq.connection.app import make_app, own_backend
from sentq.settings import Settings
from sentq.tracing.spans import messaging_system
from sentq_worker.broker import channel
from sentq_worker.broker.at_maxmemory.backends import use_worker_backends
from sentq_worker.broker.at_maxmemory.margin import MemoryMargin
from sentq_worker.broker.batches.backend import publish_callbacks_with
from sentq_worker.broker.leases import Leases
from sentq_worker.broker.results import ResultStore
from sentq_worker.broker.schedule.messages import ScheduleLimits
from sentq_worker.celery_worker import control
from sentq_worker.celery_worker.bootsteps import (
    DispatcherStep,
    EngineStep,
    exit_at_once_if_needed,
)
from sentq_worker.celery_worker.canvas.callback_messages import CallbackMessages
from sentq_worker.celery_worker.canvas.callbacks import BatchCallbacks, CallbacksOfJobs
from sentq_worker.celery_worker.canvas.follow import FollowRules
from sentq_worker.celery_worker.canvas.queues import UndeclaredQueues, UnkeptQueues
from sentq_worker.celery_worker.canvas.unread import UnreadQueues
from sentq_worker.celery_worker.encryption import JobEncryption
from sentq_worker.celery_worker.loop_watchdog import LoopWatchdog
from sentq_worker.celery_worker.protocols import WorkController
from sentq_worker.celery_worker.revocations import RevocationPoller
from sentq_worker.celery_worker.runtime import WorkerRuntime, runtime_of
from sentq_worker.celery_worker.schedule.job_schedule import JobSchedule
from sentq_worker.celery_worker.shutdown import Shutdown
from sentq_worker.celery_worker.task import ScoreTask
from sentq_worker.celery_worker.watchdog import Watchdog
from sentq_worker.clock import WorkerClock
from sentq_worker.engine.base import EngineInfo
from sentq_worker.group.link import ParentLink
from sentq_worker.group.plan import is_group
from sentq_worker.jobs.dispatcher import Dispatcher
from sentq_worker.jobs.executor import BatchExecutor
from sentq_worker.logs import use_json
from sentq_worker.monitoring.endpoint import MonitoringEndpoint
from sentq_worker.monitoring.job_counts import JobCounts
from sentq_worker.providers.cache import with_cache
from sentq_worker.providers.factory import make_provider
from sentq_worker.providers.languages import settings_of_rolled
from sentq_worker.providers.loading import LoadScorer, load_scorer
from sentq_worker.reports.heartbeat import HeartbeatWriter
from sentq_worker.reports.names import name_worker, worker_name
from sentq_worker.reports.roll import RollPoller
from sentq_worker.reports.start_check import StartCheck
from sentq_worker.scoring.labels import Labels
from sentq_worker.settings import HubSettings, WorkerSettings, load_all
from sentq_worker.tracing.batches import BatchTracer
from sentq_worker.tracing.followers import name_traces

__all__ = ["make_worker_app"]

logger = logging.getLogger(__name__)

#: The size of a batch of jobs: some four characters a token, and some four model batches.
_BATCH_CHARS_PER_TOKEN: Final = 16

#: The bytes of messages in flight: some three batches of jobs, as base64 of JSON. One is in the
#: engine. More than the next one would only be kept from workers that are idle.
_IN_FLIGHT_BYTES_PER_TOKEN: Final = 64

#: The same for a worker that asks only the Hub: some three seconds of calls, and the message of a
#: small job.
_IN_FLIGHT_JOBS_PER_CALL: Final = 32
_IN_FLIGHT_BYTES_PER_JOB: Final = 2048


def make_worker_app(
    settings: Settings | None = None,
    worker_settings: WorkerSettings | None = None,
    hub_settings: HubSettings | None = None,
    *,
    load: LoadScorer = load_scorer,
    link: ParentLink | None = None,
) -> Celery:
    """Make the app that `celery worker` and `sentq-worker` run. Loads no model yet.

    Args:
        settings: The settings shared with the client; None reads environment and file.
        worker_settings: The worker's own; None reads environment and file.
        hub_settings: The settings of the Hub; None reads environment and file.
        load: Loads the scorer when the worker starts.
        link: The connection to the parent of a worker of a group; None for a single worker.

    Raises:
        SettingsError: A setting is unknown or invalid.
    """
    if settings is None and worker_settings is None and hub_settings is None:
        settings, worker_settings, hub_settings = load_all()
    settings = settings or Settings.load()
    worker_settings = worker_settings or WorkerSettings.load()
    hub_settings = hub_settings or HubSettings.load()
    app = make_app(settings, set_as_current=True)
    _configure(app, settings, worker_settings, hub_settings)
    clock = WorkerClock()
    provider = make_provider(
        worker_settings,
        hub_settings,
        limits=settings.limits,
        load=with_cache(load, app),
        app=app,
        now_ms=clock.now_ms,
    )
    executor = BatchExecutor(worker_settings, provider)
    unread_queues = UnreadQueues(app)
    runtime = _make_runtime(app, settings, worker_settings, executor, clock, unread_queues, link)
    if link is not None:
        link.attach(
            lambda: runtime.shutdown.signals_received, grace_s=worker_settings.shutdown_grace_s
        )
        app.conf.worker_log_format = _named(app.conf.worker_log_format, worker_settings)
    app.register_task(ScoreTask(runtime))
    _connect_signals(runtime, unread_queues, uses_json=settings.log_format == "json")
    return app


def _configure(app: Celery, settings: Settings, worker: WorkerSettings, hub: HubSettings) -> None:
    """Set what Celery does in a worker of sentq, and have it start the parts of the worker."""
    use_worker_backends(app)
    prefetch_jobs, in_flight_bytes = _prefetch_limits(worker, hub)
    channel_options = {
        "in_flight_bytes": in_flight_bytes,
        "max_body_bytes": settings.limits.bytes_per_message,
        "idle_poll_s": worker.idle_poll_s,
        "lease_timeout_s": settings.visibility_timeout_s,
        "dead_letter_ttl_s": settings.dead_letter_ttl_s,
        "dead_letter_max_bytes": settings.dead_letter_max_bytes,
        "batch_ttl_s": settings.result_ttl_s if settings.is_single_redis else "",
    }
    app.conf.update(
        broker_transport_options=app.conf.broker_transport_options | channel_options,
        worker_pool="solo",
        worker_consumer="sentq_worker.celery_worker.consumer:Consumer",
        worker_concurrency=1,
        worker_enable_remote_control=worker.remote_control != "off",
        worker_prefetch_multiplier=prefetch_jobs,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_track_started=True,
        # As the last job of a chord is completed, Celery waits in the loop for the other results.
        # They are there, unless a sender has forged the chord.
        result_chord_join_timeout=1.0,
    )
    app.conf.task_routes = app.conf.task_routes | {
        task: {"queue": queue} for task, queue in worker.follow_routes.items()
    }
    is_redis = app.connection_for_write().transport.driver_type == "redis"
    app.amqp.queues_cls = UndeclaredQueues if is_redis else UnkeptQueues
    # To publish into another queue, for what follows a job, must not make the worker read it.
    app.amqp.queues.select([settings.queue, settings.bulk_queue])
    app.steps["worker"].add(EngineStep)
    app.steps["consumer"].add(DispatcherStep)


def _make_runtime(
    app: Celery,
    settings: Settings,
    worker: WorkerSettings,
    executor: BatchExecutor,
    clock: WorkerClock,
    unread_queues: UnreadQueues,
    link: ParentLink | None,
) -> WorkerRuntime:
    """Make the parts of the worker, and connect them."""
    follow_rules = FollowRules(app, worker)
    messages = CallbackMessages(app, follow_rules, unread_queues.watch)
    is_single_redis = settings.is_single_redis
    job_callbacks = CallbacksOfJobs(messages, is_single_redis=is_single_redis)
    batch_callbacks = BatchCallbacks(app, messages, is_single_redis=is_single_redis)
    publish_callbacks_with(app, job_callbacks)
    encryption = JobEncryption(settings, worker)
    stores = partial(
        ResultStore,
        app,
        margin=MemoryMargin(worker.maxmemory_margin),
        on_callbacks=batch_callbacks.publish,
        job_callbacks=job_callbacks,
    )
    counts = JobCounts()
    dispatcher = Dispatcher(
        executor,
        stores(),
        clock,
        batch_chars=_BATCH_CHARS_PER_TOKEN * worker.batch_tokens,
        seal_result=encryption.seal_result,
        bulk_queue=settings.bulk_queue,
        counts=counts,
        tracer=BatchTracer(
            messaging_system(settings.broker_url.get_secret_value()),
            lambda: app.amqp.queues.consume_from,
        ),
    )
    # The leases have a thread of their own, and so have their own connections.
    backend = own_backend(app)
    loop_watchdog = LoopWatchdog(limit_s=worker.loop_limit_s)
    heartbeat = HeartbeatWriter(dispatcher.snapshot, partial(_label_names, worker))
    schedule = JobSchedule(
        ScheduleLimits(worker.max_scheduled_jobs, worker.max_scheduled_bytes),
        max_eta_s=worker.max_eta_s,
        clock=clock,
    )
    roll = RollPoller(executor)
    leases = Leases(
        stores(backend),
        heartbeat,
        clock,
        poll_revocations=RevocationPoller(app, backend, schedule.end).poll,
        publish_callbacks=lambda: batch_callbacks.publish(backend.client),
        polls=(roll.poll, unread_queues.poll),
        may_renew=lambda: loop_watchdog.is_loop_turning,
        counts=counts,
    )
    loop_watchdog.is_redis_away = lambda: leases.is_redis_away
    return WorkerRuntime(
        settings=worker,
        encryption=encryption,
        follow_rules=follow_rules,
        job_callbacks=job_callbacks,
        batch_callbacks=batch_callbacks,
        executor=executor,
        dispatcher=dispatcher,
        start_check=StartCheck(heartbeat, is_required=worker.require_same_model),
        roll=roll,
        leases=leases,
        schedule=schedule,
        shutdown=Shutdown(grace_s=worker.shutdown_grace_s),
        watchdog=Watchdog(executor.stalled_s, limit_s=worker.batch_limit_s),
        loop_watchdog=loop_watchdog,
        endpoint=MonitoringEndpoint(worker.metrics_host, worker.metrics_port, counts, link),
        prepared={},
    )


def _connect_signals(
    runtime: WorkerRuntime, unread_queues: UnreadQueues, *, uses_json: bool
) -> None:
    # Only in a process that runs a worker: Flower and `celery inspect` use this app too.
    signals.celeryd_init.connect(_install, weak=False, dispatch_uid="sentq_worker.install")
    if uses_json:
        signals.celeryd_init.connect(
            lambda instance, **_: use_json(instance), weak=False, dispatch_uid="sentq_worker.logs"
        )
    signals.celeryd_init.connect(
        lambda **_: unread_queues.listen(), weak=False, dispatch_uid="sentq_worker.unread_queues"
    )
    signals.worker_shutdown.connect(
        lambda sender, **_: exit_at_once_if_needed(runtime, sender),
        weak=False,
        dispatch_uid="sentq_worker.exit",
    )


def _named(log_format: str, settings: WorkerSettings) -> str:
    """Return the format of log lines with the worker's name in place of that of the process, which
    is the same in all workers of a group."""
    name = worker_name(settings.name).partition("@")[0]
    return log_format.replace("%(processName)s", name.replace("%", "%%"))


def _prefetch_limits(worker: WorkerSettings, hub: HubSettings) -> tuple[int, int]:
    """Return how many jobs, and how many bytes of messages, a worker has in flight at most."""
    jobs, size_bytes = worker.prefetch_jobs, _IN_FLIGHT_BYTES_PER_TOKEN * worker.batch_tokens
    if worker.policies == {"hub"}:
        # A batch ends with its slowest call, so only a long batch keeps all calls busy.
        jobs = max(jobs, _IN_FLIGHT_JOBS_PER_CALL * hub.in_flight)
        size_bytes = max(size_bytes, jobs * _IN_FLIGHT_BYTES_PER_JOB)
    return jobs, size_bytes


def _label_names(settings: WorkerSettings, engine: EngineInfo, model: str) -> Sequence[str]:
    """Return the names of labels in outcomes. The Hub's are renamed already."""
    try:
        return Labels(engine.labels, settings_of_rolled(settings, model).labels).names
    except ValueError:
        return engine.labels


def _install(instance: WorkController, **_: object) -> None:
    channel.install()
    name_traces()
    settings = runtime_of(instance.app).settings
    control.install(only_inspect=settings.remote_control == "inspect")
    if is_group(settings):
        logger.warning(
            "devices and processes are settings of the command sentq-worker: this is one process"
        )
    name_worker(instance, settings.name)
