"""The steps in the life of a Celery worker: load before it connects, drain as it ends.

Celery starts its steps in the order of their requirements and stops them in reverse. So the
engine's step stops after the consumer takes no more messages, and before its connection closes.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

import redis
from celery import bootsteps
from celery.worker import state

from sentq.errors import SettingsError
from sentq.results.cancel import cancelled_ids
from sentq.wire.functions import LIBRARY_NAME, load_functions
from sentq_worker.broker.channel import Channel
from sentq_worker.broker.protocols import RepeatingEventLoop
from sentq_worker.celery_worker.consumer import Consumer
from sentq_worker.celery_worker.protocols import WorkController
from sentq_worker.celery_worker.runtime import WorkerRuntime, runtime_of
from sentq_worker.celery_worker.schedule.job_schedule import JobSchedule
from sentq_worker.celery_worker.strategy import JobIntake
from sentq_worker.clock import WorkerClock
from sentq_worker.engine.base import DeviceLost, EngineError
from sentq_worker.exit_codes import EX_CONFIG, EX_UNAVAILABLE
from sentq_worker.garbage import tune_garbage_collector

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["DispatcherStep", "EngineStep", "exit_at_once_if_needed"]

logger = logging.getLogger(__name__)


class EngineStep(bootsteps.StartStopStep):
    """Loads the model before the worker connects; completes the running batch as it stops."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: WorkController, **kwargs: object) -> None:
        super().__init__(worker, **kwargs)
        if not worker.pool_cls.__module__.endswith(".solo"):
            logger.critical(
                "sentq_worker holds one model in one process: start it with -P solo, "
                "and start more workers to use more cores or GPUs"
            )
            raise SystemExit(EX_CONFIG)

    def start(self, worker: WorkController) -> None:
        runtime = runtime_of(worker.app)
        runtime.shutdown.install(worker)
        # At this level Celery's pool logs a task's arguments.
        worker.pool._does_debug = False  # noqa: SLF001
        try:
            # First, so that probes are answered while the model loads.
            runtime.endpoint.start(runtime.reading, runtime.vitals)
            runtime.encryption.start()
            runtime.executor.start()
        except DeviceLost as error:
            logger.critical("%s", error)
            raise SystemExit(EX_UNAVAILABLE) from None
        except (EngineError, SettingsError) as error:
            logger.critical("%s", error)
            raise SystemExit(EX_CONFIG) from None
        tune_garbage_collector()
        runtime.watchdog.start()
        runtime.shutdown.is_loading = False

    def stop(self, worker: WorkController) -> None:
        runtime = runtime_of(worker.app)
        runtime.loop_watchdog.stop()
        runtime.shutdown.begin()
        if not runtime.executor.is_lost:
            runtime.dispatcher.drain(
                runtime.settings.shutdown_grace_s, is_hurried=lambda: runtime.shutdown.is_hurried
            )
        runtime.watchdog.stop()
        self.terminate(worker)

    def terminate(self, worker: WorkController) -> None:
        runtime = runtime_of(worker.app)
        runtime.leases.end()
        runtime.executor.stop()
        runtime.endpoint.stop()


class DispatcherStep(bootsteps.StartStopStep):
    """Attaches the dispatcher to each new connection and its event loop."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def register_with_event_loop(self, consumer: Consumer, hub: RepeatingEventLoop) -> None:
        runtime = runtime_of(consumer.app)
        channel = consumer.task_consumer.channel
        queues = consumer.app.amqp.queues.consume_from
        if isinstance(channel, Channel):
            runtime.roll.start(channel)
        runtime.start_check.run(
            channel if isinstance(channel, Channel) else None,
            worker=consumer.hostname,
            queues=queues,
        )
        dispatcher = runtime.dispatcher
        dispatcher.attach(consumer, hub, queues=queues)
        runtime.loop_watchdog.watch(hub)
        results = consumer.app.backend.client
        _load_functions(results)
        if isinstance(channel, Channel):
            if not channel.shares_redis(results.connection_pool.connection_kwargs):
                with channel.conn_or_acquire() as connection:
                    _load_functions(connection)
            channel.attach(JobIntake(runtime, consumer))
            channel.look_from(hub)
            runtime.leases.attach(
                channel,
                in_flight_tags=dispatcher.in_flight_tags,
                on_reclaimed=lambda tags: hub.call_soon(dispatcher.drop_reclaimed, tags),
            )
        runtime.schedule.attach(channel, hub)
        _catch_up(consumer.app, dispatcher.clock, runtime.schedule)

    def stop(self, consumer: Consumer) -> None:
        """Expect the loop to turn no longer: the connection is lost, or the worker ends."""
        runtime_of(consumer.app).loop_watchdog.pause()


def _catch_up(app: Celery, clock: WorkerClock, schedule: JobSchedule) -> None:
    """Ask Redis for its time, and for the jobs that were cancelled while this worker was
    disconnected."""
    try:
        asked_at_s = time.monotonic()
        seconds, microseconds = app.backend.client.time()
        redis_s = seconds + microseconds / 1e6
        clock.set(redis_s, asked_at_s=asked_at_s, answered_at_s=time.monotonic())
        cancelled = list(cancelled_ids(app))
        state.revoked.update(cancelled)
        schedule.end(cancelled)
    except redis.RedisError as error:
        logger.warning("the Redis of results does not answer (%s)", type(error).__name__)


def _load_functions(connection: redis.Redis) -> None:
    """Load what clients call in Redis, if they are not there, this Redis has functions, and this
    user may load them."""
    try:
        if load_functions(connection):
            logger.info("loaded the functions %s for clients into Redis", LIBRARY_NAME)
    except redis.RedisError as error:
        # Clients run scripts then, if their user may.
        logger.info("the functions for clients are not loaded: %s", error)


def exit_at_once_if_needed(runtime: WorkerRuntime, worker: WorkController) -> None:
    """Exit now if the worker was told to hurry, or if its engine is still busy.

    All jobs have been requeued by now. A normal exit would wait for the engine's thread.
    """
    shutdown = runtime.shutdown
    shutdown.end()
    if shutdown.hurried_exit_code is not None:
        worker.exitcode = shutdown.hurried_exit_code
    if runtime.executor.is_busy or shutdown.is_hurried:
        logger.warning("this worker exits at once: all jobs in flight went back to the queue")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(worker.exitcode or 0)
