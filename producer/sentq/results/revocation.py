"""Celery's broadcast of a revoked task, as one command of Redis.

Celery would publish it on connections of its own, which block. So Celery and kombu make the
message, and the client sends it on its own connection. A test compares it with what Celery sends.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from kombu import Connection
from kombu.transport import virtual
from kombu.utils.json import dumps

from sentq.wire.steps import Command

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["revocation"]


class _FanoutCapture(virtual.Channel):
    """Keeps the one message that is broadcast, instead of sending it."""

    supports_fanout = True

    def _put_fanout(self, exchange: str, message: Any, *_: Any, **__: Any) -> None:
        self.connection.captured = exchange, message  # kombu calls its transport a connection


class _FanoutTransport(virtual.Transport):
    Channel = _FanoutCapture
    captured: Any = None


def revocation(app: Celery, job_id: str) -> Command:
    """Return the command that tells workers of a revoked job, for a Redis without a key prefix."""
    control, mailbox = copy(app.control), copy(app.control.mailbox)
    # Otherwise it takes a producer of the app's, with a connection to the broker.
    mailbox.producer_pool = None
    control.mailbox = mailbox
    with Connection(transport=_FanoutTransport) as connection:
        control.revoke(job_id, connection=connection)
        exchange, message = connection.transport.captured
    return ("PUBLISH", f"/{app.backend.connparams['db']}.{exchange}", dumps(message))
