"""The Celery app that client and worker share: where jobs go, how they travel, how long to wait.

Time-outs are set everywhere because the defaults hang: without them enqueueing to a broker that
swallows packets takes 40 seconds, and a worker on a half-open connection more than two minutes.
"""

from __future__ import annotations

from typing import Any, Final

from celery import Celery
from celery.app import backends
from kombu import Exchange, Queue

from sentq.contract import TASK_NAME
from sentq.settings import Settings

__all__ = ["make_app", "own_backend", "result_key"]


#: Kombu's own Redis transport, in clients and in Flower, would give back what workers hold, by
#: the clock of its machine. Our workers do that, by Redis' clock.
_NOTHING_IS_GIVEN_BACK: Final = {"visibility_timeout": 10 * 366 * 24 * 60 * 60}


def make_app(settings: Settings, *, set_as_current: bool = False) -> Celery:
    """Make a Celery app for these settings.

    Args:
        settings: Where broker and results are, and the time-outs.
        set_as_current: Make it Celery's current app. Only a worker should: the client lives
            inside other people's applications, which have a Celery app of their own.
    """
    broker_url = settings.broker_url.get_secret_value()
    app = Celery("sentq", set_as_current=set_as_current)
    app.conf.update(
        # Read and write URL are set too: they beat a CELERY_BROKER_URL that was meant for the
        # Celery app of the process that we are a guest in.
        broker_url=broker_url,
        broker_read_url=broker_url,
        broker_write_url=broker_url,
        broker_connection_timeout=settings.connect_timeout_s,
        broker_connection_retry_on_startup=True,
        # Without end: nobody should have to restart a worker because Redis was away for long.
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_connect_timeout": settings.connect_timeout_s,
            "socket_timeout": settings.socket_timeout_s,
            "socket_keepalive": True,
            "health_check_interval": 5,
            # Single jobs before bulk work, always.
            "queue_order_strategy": "priority",
            **(_NOTHING_IS_GIVEN_BACK if settings.broker_is_redis else {}),
            **settings.transport_options,
        },
        redis_socket_connect_timeout=settings.connect_timeout_s,
        redis_socket_timeout=settings.socket_timeout_s,
        redis_backend_health_check_interval=5,
        result_backend_transport_options={
            "retry_policy": {"timeout": settings.socket_timeout_s},
            **settings.transport_options,
        },
        # One connection pool for all threads of a web process instead of one for each.
        result_backend_thread_safe=True,
        result_expires=settings.result_ttl_s,
        # What follows a job in a chain, and names no queue, is the application's own.
        task_routes={TASK_NAME: {"queue": settings.queue}},
        task_queues=[_queue(settings.queue), _queue(settings.bulk_queue)],
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        enable_utc=True,
        timezone="UTC",
    )
    # Given to the app itself, a backend beats CELERY_RESULT_BACKEND as well.
    app.backend_cls = settings.result_backend_url.get_secret_value()
    return app


def own_backend(app: Celery) -> Any:
    """A second result backend with connections of its own: threads that share a pool open one
    connection more whenever they first happen to ask at the same time."""
    backend, url = backends.by_url(app.backend_cls, app.loader)
    return backend(app=app, url=url)


def result_key(app: Celery, name: str) -> bytes:
    """A key of this name beside those of the results: with their prefix, where there is one."""
    keys: bytes = app.backend.task_keyprefix
    return keys.removesuffix(b"celery-task-meta-") + name.encode()


def _queue(name: str) -> Queue:
    return Queue(name, Exchange(name, type="direct"), routing_key=name)
