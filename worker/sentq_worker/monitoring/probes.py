"""What a worker answers to the probes of its supervisor.

`/livez` fails if a new process would help, and only then: the event loop stands still, or the
engine makes no progress, for longer than the limit. A Redis that is away is no reason: the worker
waits for it, and a restart would only load the model again.

`/readyz` fails while the worker takes no jobs.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from sentq.serving import TEXT, Page
from sentq_worker.monitoring.reading import Vitals

__all__ = ["live_page", "problems_of_life", "problems_of_readiness", "ready_page"]

#: A loop that has stood still for so long takes no jobs at the moment. It may be long before that
#: is a reason to end the worker.
_STILL_S: Final = 3.0

#: Redis is asked every two seconds at most; one failed tick is no outage.
_SILENT_S: Final = 10.0


def live_page(vitals: Vitals) -> Page:
    """Return the answer to `/livez`."""
    return _page(problems_of_life(vitals), "live" + (": loading" if vitals.is_loading else ""))


def ready_page(vitals: Vitals) -> Page:
    """Return the answer to `/readyz`."""
    return _page(problems_of_readiness(vitals), "ready")


def problems_of_life(vitals: Vitals) -> list[str]:
    """Return why only a new process helps; nothing if the worker lives."""
    found = []
    if vitals.loop_still_s > vitals.loop_limit_s:
        found.append(
            f"the event loop has stood still for {vitals.loop_still_s:.0f} s; "
            f"the limit is {vitals.loop_limit_s:.0f} s (SENTQ_WORKER_LOOP_LIMIT_S)"
        )
    if vitals.engine_stalled_s > vitals.engine_limit_s:
        found.append(
            f"the engine has made no progress for {vitals.engine_stalled_s:.0f} s; "
            f"the limit is {vitals.engine_limit_s:.0f} s (SENTQ_WORKER_BATCH_LIMIT_S)"
        )
    if vitals.is_device_lost:
        found.append("the device is lost")
    return found


def problems_of_readiness(vitals: Vitals) -> list[str]:
    """Return why the worker takes no jobs; nothing if it does."""
    if vitals.is_loading:
        return ["the model is being loaded"]
    found = problems_of_life(vitals)
    if vitals.is_ending:
        found.append("the worker ends")
    elif not vitals.is_consuming:
        found.append("the worker is not connected to its queues")
    if _STILL_S < vitals.loop_still_s <= vitals.loop_limit_s:
        found.append(f"the event loop has stood still for {vitals.loop_still_s:.0f} s")
    silent_s = vitals.redis_silent_s
    if silent_s is not None and silent_s > _SILENT_S:
        found.append(f"Redis has not answered for {silent_s:.0f} s")
    return found


def _page(problems: list[str], good: str) -> Page:
    if not problems:
        return Page(f"{good}\n".encode())
    lines = "".join(f"{problem}\n" for problem in problems)
    return Page(lines.encode(), TEXT, HTTPStatus.SERVICE_UNAVAILABLE)
