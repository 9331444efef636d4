"""The Celery app of client and worker: addresses, queues, serialization, time-outs.

Celery is imported when an app is made. That takes a third of the time of a client's other imports.

Every time-out is set, because the defaults block for too long. Without them, sending to a broker
that drops packets takes 40 seconds; a worker on a half-open connection hangs for over two minutes.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from sentq.connection.passwords import with_password
from sentq.connection.tls import TlsAddress, sentinel_options, tls_address, warn_if_insecure
from sentq.contract import TASK_NAME
from sentq.settings import Settings

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Queue

__all__ = [
    "AppOfClient",
    "document_keys",
    "key_with_result_prefix",
    "make_app",
    "own_backend",
]


#: Kombu's own Redis transport, in clients and in Flower, would requeue the messages of workers, by
#: the clock of its machine. The workers of sentq do that, by Redis' clock.
_NO_REQUEUE_BY_KOMBU: Final = {"visibility_timeout": 10 * 366 * 24 * 60 * 60}


#: A transport option that kombu ignores. Its pools of connections are shared by all apps of a
#: process that have the same URL and transport options.
_POOL_MARKER: Final = "sentq_client"


class AppOfClient:
    """The app of one client, made when it is first used. Thread-safe.

    It shares no connections to the broker with other apps of this process that have the same
    settings, so that `close` can close them.

    Raises:
        SettingsError: As `make_app`, at once.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._addresses = _addresses(settings)
        self._lock = Lock()
        self._app: Celery | None = None

    def get(self) -> Celery:
        """Return the app, the same one each time."""
        if self._app is None:
            with self._lock:
                if self._app is None:
                    marker = {_POOL_MARKER: uuid.uuid4().hex}
                    self._app = _make_app(self._settings, self._addresses, marker)
        return self._app

    def close(self) -> None:
        """Close its connections. It may be used again."""
        if self._app is not None:
            _close_app(self._app)


def make_app(settings: Settings, *, set_as_current: bool = False) -> Celery:
    """Make a Celery app for these settings.

    Args:
        settings: The addresses of broker and results, and the time-outs.
        set_as_current: Make it Celery's current app. Only a worker should do so: the client runs
            inside applications that have a Celery app of their own.

    Raises:
        SettingsError: An option of TLS is refused, or a file of TLS or of the password cannot be
            used.
    """
    return _make_app(settings, _addresses(settings), {}, set_as_current=set_as_current)


def _addresses(settings: Settings) -> tuple[TlsAddress, TlsAddress]:
    """Return the addresses of broker and results."""
    broker_url = with_password(settings.broker_url.get_secret_value(), settings)
    broker = tls_address(broker_url, settings, name="broker_url")
    result_url = with_password(settings.result_backend_url.get_secret_value(), settings)
    results = tls_address(result_url, settings, name="result_url")
    warn_if_insecure(broker, results)
    return broker, results


def _make_app(
    settings: Settings,
    addresses: tuple[TlsAddress, TlsAddress],
    marker: Mapping[str, str],
    *,
    set_as_current: bool = False,
) -> Celery:
    from celery import Celery

    broker, results = addresses
    app = Celery("sentq", set_as_current=set_as_current)
    app.conf.update(
        # Read and write URL are set too: they override a CELERY_BROKER_URL that is meant for the
        # Celery app of the surrounding application.
        broker_url=broker.url,
        broker_read_url=broker.url,
        broker_write_url=broker.url,
        broker_use_ssl=_options(broker) or False,
        broker_connection_timeout=settings.connect_timeout_s,
        broker_connection_retry_on_startup=True,
        # No limit: a long outage of Redis must not require a restart of the worker.
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_connect_timeout": settings.connect_timeout_s,
            "socket_timeout": settings.socket_timeout_s,
            "socket_keepalive": True,
            "health_check_interval": 5,
            # Single jobs always come before bulk work.
            "queue_order_strategy": "priority",
            **(_NO_REQUEUE_BY_KOMBU if settings.broker_is_redis else {}),
            **_transport_options(broker, settings),
            **broker.marker,
            **marker,
        },
        redis_backend_use_ssl=_options(results),
        redis_socket_connect_timeout=settings.connect_timeout_s,
        redis_socket_timeout=settings.socket_timeout_s,
        redis_backend_health_check_interval=5,
        result_backend_transport_options={
            "retry_policy": {"timeout": settings.socket_timeout_s},
            **_transport_options(results, settings),
        },
        # One connection pool for all threads of a web process instead of one for each.
        result_backend_thread_safe=True,
        result_expires=settings.result_ttl_s,
        # Only this task: a task that follows a job in a chain belongs to the application.
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
    # Set on the app itself, a backend overrides CELERY_RESULT_BACKEND as well.
    app.backend_cls = results.url
    return app


def _close_app(app: Celery) -> None:
    """Close the connections of an app that has its own pool.

    Celery's own `close` leaves them open, in a pool of kombu's that all apps share that have the
    same settings.
    """
    from kombu import pools
    from kombu.utils.collections import eqhash

    pool, address = app.pool, app.connection_for_write()
    app.close()
    # The pool of producers has no connections but these.
    for group in (pools.connections, pools.producers):
        if eqhash(address) in group:
            del group[address]
    app.amqp._producer_pool = None  # noqa: SLF001 - it would keep the closed pool
    pool.force_close_all()
    # Closing the backend's client would leave its pool open: Celery passes one of its own.
    app.backend.client.connection_pool.disconnect()


def own_backend(app: Celery) -> Any:
    """Return a second result backend with its own connections.

    Threads that share a pool open a further connection when they first use it at the same time.
    """
    from celery.app import backends

    backend, url = backends.by_url(app.backend_cls, app.loader)
    return backend(app=app, url=url)


def key_with_result_prefix(app: Celery, name: str) -> bytes:
    """Return the key of this name in the Redis of the results, with the configured key prefix."""
    keys: bytes = app.backend.task_keyprefix
    return keys.removesuffix(b"celery-task-meta-") + name.encode()


def document_keys(backend: Any, job_ids: Iterable[str]) -> list[bytes]:
    """Return the keys of the result documents of jobs, in their order.

    Celery's own `get_key_for_task` takes longer than the rest of the work, so it is called once:
    all keys begin alike.
    """
    ids = [job_id.encode() for job_id in job_ids]
    if not ids:
        return []
    prefix: bytes = backend.get_key_for_task(ids[0]).removesuffix(ids[0])
    return [prefix + job_id for job_id in ids]


def _options(address: TlsAddress) -> dict[str, Any] | None:
    """Return the options of TLS for Celery, which may change what it is given."""
    return None if address.options is None else dict(address.options)


def _transport_options(address: TlsAddress, settings: Settings) -> dict[str, Any]:
    """Return the user's transport options, and those of connections to Sentinels."""
    options = dict(settings.transport_options)
    if address.url.startswith("sentinel://"):
        given = options.get("sentinel_kwargs") or {}
        options["sentinel_kwargs"] = sentinel_options(address, settings, given)
    return options


def _queue(name: str) -> Queue:
    from kombu import Exchange, Queue

    return Queue(name, Exchange(name, type="direct"), routing_key=name)
