"""A stock Celery application with the addresses, TLS and time-outs of sentq's settings.

celery -A benchmarks.network.stock worker -P solo -Q sentq
"""

from __future__ import annotations

from typing import Final

from celery import Celery

from benchmarks import instant
from sentq.connection.app import make_app
from sentq.settings import Settings

__all__ = ["app", "make_stock_app"]

_SHARED: Final = (
    *("broker_url", "broker_use_ssl", "broker_connection_timeout", "broker_transport_options"),
    *("redis_backend_use_ssl", "redis_socket_connect_timeout", "redis_socket_timeout"),
    "result_backend_transport_options",
)


def make_stock_app() -> Celery:
    """Make an app with the task `sentq.score`, whose outcome is always the same."""
    sentq = make_app(Settings())
    stock = Celery("stock", backend=sentq.backend_cls)
    stock.conf.update({name: sentq.conf[name] for name in _SHARED})
    stock.conf.update(
        task_acks_late=True,
        broker_connection_retry_on_startup=True,
        # As sentq: a job of a lost worker is taken again after so many seconds.
        broker_transport_options=stock.conf.broker_transport_options | {"visibility_timeout": 30},
    )
    stock.task(name="sentq.score")(instant.score)
    return stock


app = make_stock_app()
