"""The recovery time from a single fault, in seconds, on a working and idle site."""

from __future__ import annotations

import time

from sentq import Client
from tests.chaos.site import ChaosSite
from tests.support.processes import eventually

__all__ = ["after_half_open_s", "after_kill_s", "after_redis_s"]

#: The time limit of each wait.
_TIME_LIMIT_S = 60.0

#: More than a worker prefetches, so that a killed one leaves some.
_JOBS = 400


def after_kill_s(site: ChaosSite) -> float:
    """Return the time from the kill of a worker with jobs in flight until all jobs have results.

    The site must have another worker.
    """
    _wait_until_ready(site)
    killed = site.workers[0].current
    prefix = f"{killed.worker.process.pid:x}-".encode()
    with Client(broker_url=site.redis.url) as client, site.redis.client() as redis:
        jobs = client.submit_many([f"text {n}" for n in range(_JOBS)])
        eventually(
            lambda: any(tag.startswith(prefix) for tag in redis.hkeys("unacked")),
            what="jobs in flight in the worker",
        )
        killed.is_end_expected = True
        killed.worker.process.kill()
        killed_s = time.monotonic()
        eventually(
            lambda: all(job.id in site.published.at_s for job in jobs), within_s=_TIME_LIMIT_S
        )
    return max(site.published.at_s[job.id] for job in jobs) - killed_s


def after_half_open_s(site: ChaosSite) -> float:
    """Return the time from a half-open connection until the worker has scored a new job.

    The site must have no other worker.
    """
    _wait_until_ready(site)
    with Client(broker_url=site.redis.url) as client:
        client.submit("before").result(timeout=_TIME_LIMIT_S)
        site.workers[0].proxy.freeze()
        return _time_to_score_s(client)


def after_redis_s(site: ChaosSite) -> float:
    """Return the time from a restart of a killed Redis until a new job is scored."""
    _wait_until_ready(site)
    with Client(broker_url=site.redis.url) as client:
        client.submit("before").result(timeout=_TIME_LIMIT_S)
        site.redis.kill()
        site.redis.start()
        return _time_to_score_s(client)


def _time_to_score_s(client: Client) -> float:
    started_s = time.monotonic()
    client.submit("after").result(timeout=_TIME_LIMIT_S)
    return time.monotonic() - started_s


def _wait_until_ready(site: ChaosSite) -> None:
    eventually(
        lambda: all(worker.current.is_ready for worker in site.workers), within_s=_TIME_LIMIT_S
    )
