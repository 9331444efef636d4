"""A client for each path on which jobs are sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from celery import signals

from sentq import Client
from tests.support.processes import RedisProcess

#: How jobs are sent: by sentq's script; by Celery, because results are in another database; and
#: by Celery, because its publish signal has a receiver.
PATHS: Final = ("script", "other database", "publish signal")


@pytest.fixture(params=PATHS)
def sender(redis_server: RedisProcess, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client for each path of sending."""
    results = "/1" if request.param == "other database" else "/0"

    def listen(**_: Any) -> None:
        """Connect to the signal, as tracing libraries do."""

    if request.param == "publish signal":
        signals.before_task_publish.connect(listen)
    url = redis_server.url
    with Client(broker_url=url, result_url=url.removesuffix("/0") + results) as client:
        yield client
    signals.before_task_publish.disconnect(listen)
