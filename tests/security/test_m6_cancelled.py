"""Forged times in the set of cancelled jobs do not hide what is cancelled later."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

import pytest
import redis
from celery.worker import state

from sentq import Client
from sentq.connection.app import own_backend
from sentq.results import cancel
from sentq.results.cancel import cancelled_ids
from sentq_worker.celery_worker import revocations
from sentq_worker.celery_worker.revocations import RevocationPoller

KEY = "sentq.cancelled"


class ImmediateLoop:
    """An event loop that calls at once."""

    def call_soon(self, callback, *args):  # type: ignore[no-untyped-def]
        callback(*args)


@pytest.fixture
def poller(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[RevocationPoller]:
    monkeypatch.setattr(revocations, "get_event_loop", ImmediateLoop)
    state.revoked.clear()
    backend = own_backend(client._app)
    yield RevocationPoller(client._app, backend, list)
    backend.client.close()
    state.revoked.clear()


def test_entries_of_the_future_hide_no_cancelled_job(
    server: redis.Redis, client: Client, poller: RevocationPoller
) -> None:
    server.zadd(KEY, {"forged": 9e12, "far": float("inf"), "past": -1e300})
    poller.poll()
    job = client.submit("a text")
    assert job.cancel()
    poller.poll()
    assert list(state.revoked) == [job.id]
    assert cast("list[bytes]", server.zrange(KEY, 0, -1)) == [job.id.encode()]


def test_many_entries_are_read_in_pages_and_once(
    server: redis.Redis,
    client: Client,
    poller: RevocationPoller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (cancel, revocations):
        monkeypatch.setattr(module, "CANCELLED_PAGE", 10)
    then_s = int(time.time()) - 30
    server.zadd(KEY, {f"flood-{number:02}": then_s for number in range(35)})
    job = client.submit("a text")
    assert job.cancel()
    for _ in range(4):
        poller.poll()
    assert job.id in state.revoked
    assert len(state.revoked) == 36
    assert len(cancelled_ids(client._app)) == 36
    state.revoked.clear()
    poller.poll()
    assert "flood-00" not in state.revoked, "what was read is not read again and again"
