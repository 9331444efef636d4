"""How long one fault holds things up where nothing else breaks. Seconds, on a site that works and
has nothing to do; afterwards it works again."""

from __future__ import annotations

import time

from sentq import Client
from tests.chaos.site import ChaosSite
from tests.support.processes import eventually

__all__ = ["after_half_open_s", "after_kill_s", "after_redis_s"]

#: When to give up.
_PATIENCE_S = 60.0

#: More than a worker takes at once, so that a killed one leaves some.
_JOBS = 400


def after_kill_s(site: ChaosSite) -> float:
    """Kill a worker that holds jobs, and return when others have answered all jobs that there
    are. The site has another worker."""
    _wait_until_ready(site)
    killed = site.places[0].life
    prefix = f"{killed.worker.process.pid:x}-".encode()
    with Client(broker_url=site.redis.url) as client, site.redis.client() as redis:
        jobs = client.submit_many([f"text {n}" for n in range(_JOBS)])
        eventually(
            lambda: any(tag.startswith(prefix) for tag in redis.hkeys("unacked")),
            what="the worker holds jobs",
        )
        killed.is_doomed = True
        killed.worker.process.kill()
        killed_s = time.monotonic()
        eventually(lambda: all(job.id in site.answers.at_s for job in jobs), within_s=_PATIENCE_S)
    return max(site.answers.at_s[job.id] for job in jobs) - killed_s


def after_half_open_s(site: ChaosSite) -> float:
    """Let the worker's connections swallow what is sent, and return when it has answered a job
    that came after. The site has no other worker."""
    _wait_until_ready(site)
    with Client(broker_url=site.redis.url) as client:
        client.submit("before").result(timeout=_PATIENCE_S)
        site.places[0].proxy.freeze()
        return _answered_after_s(client)


def after_redis_s(site: ChaosSite) -> float:
    """Kill Redis and start it again; return how long after that a new job is answered."""
    _wait_until_ready(site)
    with Client(broker_url=site.redis.url) as client:
        client.submit("before").result(timeout=_PATIENCE_S)
        site.redis.kill()
        site.redis.start()
        return _answered_after_s(client)


def _answered_after_s(client: Client) -> float:
    started_s = time.monotonic()
    client.submit("after").result(timeout=_PATIENCE_S)
    return time.monotonic() - started_s


def _wait_until_ready(site: ChaosSite) -> None:
    eventually(lambda: all(place.life.is_ready for place in site.places), within_s=_PATIENCE_S)
