"""When things happen in the life of a Celery worker: load before it connects, drain as it ends.

Celery starts its steps in order of their needs and stops them in reverse, so the engine's step
ends after the consumer was told to take no more, and before its connection closes.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from typing import Any

import redis
from celery import bootsteps
from celery.worker import state

from sentq.contract import TASK_NAME
from sentq.results.cancel import cancelled_ids
from sentq_worker.broker.channel import Channel
from sentq_worker.broker.clock import WorkerClock
from sentq_worker.celery_worker.shutdown import Shutdown
from sentq_worker.celery_worker.strategy import PlainJobs
from sentq_worker.engine.base import DeviceLost, EngineError
from sentq_worker.exit_codes import EX_CONFIG, EX_UNAVAILABLE
from sentq_worker.jobs.executor import BatchExecutor

__all__ = ["DispatcherStep", "EngineStep", "leave"]

logger = logging.getLogger(__name__)


class EngineStep(bootsteps.StartStopStep):
    """Loads the model before the worker connects; finishes what is held when it stops."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        if not worker.pool_cls.__module__.endswith(".solo"):
            raise SystemExit(
                "sentq_worker holds one model in one process: start it with -P solo, "
                "and start more workers to use more cores or GPUs"
            )

    def start(self, worker: Any) -> None:
        task = _task(worker)
        task.shutdown.install(worker)
        # At this level Celery's pool logs what a task is called with.
        worker.pool._does_debug = False  # noqa: SLF001
        try:
            task.service.start()
        except DeviceLost as error:
            logger.critical("%s", error)
            raise SystemExit(EX_UNAVAILABLE) from None
        except EngineError as error:
            logger.critical("%s", error)
            raise SystemExit(EX_CONFIG) from None
        _spare_the_collector()
        task.watchdog.start()
        task.shutdown.is_loading = False

    def stop(self, worker: Any) -> None:
        task = _task(worker)
        task.shutdown.begin()
        if not task.service.is_lost:
            task.dispatcher.drain(
                task.service.settings.shutdown_grace_s,
                is_hurried=lambda: task.shutdown.is_hurried,
            )
        task.watchdog.stop()
        task.leases.end()
        task.service.stop()

    def terminate(self, worker: Any) -> None:
        task = _task(worker)
        task.leases.end()
        task.service.stop()


class DispatcherStep(bootsteps.StartStopStep):
    """Joins the dispatcher to the event loop of each new connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        task = _task(consumer)
        task.dispatcher.attach(consumer, hub)
        channel = consumer.task_consumer.channel
        if isinstance(channel, Channel):
            channel.take_plain = PlainJobs(task, consumer).take_plain
            channel.tell = consumer.tell
            channel.worker = consumer.hostname
            task.leases.attach(
                channel,
                in_flight_tags=task.dispatcher.in_flight_tags,
                forget=lambda tags: hub.call_soon(task.dispatcher.forget, tags),
            )
        _catch_up(consumer.app, task.dispatcher.clock)


def _catch_up(app: Any, clock: WorkerClock) -> None:
    """Learn what only Redis knows: what time it is, and which jobs were cancelled while nobody
    told us."""
    try:
        asked_at_s = time.monotonic()
        seconds, microseconds = app.backend.client.time()
        redis_s = seconds + microseconds / 1e6
        clock.set(redis_s, asked_at_s=asked_at_s, answered_at_s=time.monotonic())
        state.revoked.update(list(cancelled_ids(app)))
    except redis.RedisError as error:
        logger.warning("the Redis of results does not answer (%s)", type(error).__name__)


def leave(service: BatchExecutor, shutdown: Shutdown, worker: Any) -> None:
    """End the process now if it shall hurry, or the engine is still busy: all is handed back,
    and at its normal end Python would wait for the engine's thread however long that takes."""
    shutdown.end()
    if shutdown.hurried_exit_code is not None:
        worker.exitcode = shutdown.hurried_exit_code
    if service.is_busy or shutdown.is_hurried:
        logger.warning("leaving at once: all that was held went back to the queue")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(worker.exitcode or 0)


def _spare_the_collector() -> None:
    """Let Python's garbage collector pass over what lives as long as the process (the model,
    the libraries), and come by less often: messages hold no cycles. It took a fifth of the
    worker's time about small jobs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _task(owner: Any) -> Any:
    return owner.app.tasks[TASK_NAME]
