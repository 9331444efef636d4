"""Injects a schedule of faults into a site, and records the target and time of each fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import redis

from tests.chaos.schedule import FaultKind, InjectedFault
from tests.chaos.site import ChaosSite, SupervisedWorker, WorkerRun
from tests.support.proxy import TAKE, Proxy, Trap

__all__ = ["Injected", "inject"]

#: The queue for bulk jobs, which wait for all single jobs.
_BULK_QUEUE: Final = "sentq.bulk"

#: How long to wait until the target worker has started.
_READY_WITHIN_S: Final = 30.0

#: How long a trap waits for its bytes, or its point in a batch, before the fault comes anyway.
_TRAP_WAIT_S: Final = 3.0

#: How long a slow connection delays each chunk of data.
_DELAY_S: Final = 0.3

_POLL_INTERVAL_S: Final = 0.01

#: Patterns, on_reply and forward_first of each trap. Stock Celery takes jobs with BRPOP.
_TRAPS: Final = {
    "take": ((TAKE, b"BRPOP"), False, False),
    "taken": ((TAKE, b"BRPOP"), False, True),
    "finish": ((b'"SUCCESS"',), False, False),
    "finished": ((b'"SUCCESS"',), False, True),
    "take-reply": ((TAKE, b"BRPOP"), True, False),
    "finish-reply": ((b'"SUCCESS"',), True, False),
}


@dataclass(frozen=True)
class Injected:
    """An injected fault, with its start and end in monotonic time.

    Attributes:
        run: The worker process that was the target; None if the target was not a worker.
        in_flight: The ids of the single jobs that were unacknowledged just after a kill. Bulk
            jobs are left out, because requeued bulk jobs wait for all single jobs.
    """

    fault: InjectedFault
    began_s: float
    ended_s: float
    run: WorkerRun | None = None
    in_flight: Sequence[str] = ()


def inject(
    site: ChaosSite, schedule: Sequence[InjectedFault], *, say: Callable[[str], None]
) -> list[Injected]:
    """Inject the faults of a schedule one after the other; lasting faults overlap with later ones.

    Args:
        site: The processes to break.
        schedule: The faults in order of time. After a slow one, the next ones are late.
        say: Called with a line of progress for each fault.
    """
    started = time.monotonic()
    done: list[Injected] = []
    for number, fault in enumerate(schedule):
        time.sleep(max(0.0, started + fault.at_s - time.monotonic()))
        done.append(_inject_one(site, fault))
        say(f"{number + 1}/{len(schedule)} {fault.kind} {fault.detail}".rstrip())
    _wait_until_over(done)
    return done


def _inject_one(site: ChaosSite, fault: InjectedFault) -> Injected:
    match fault.kind:
        case FaultKind.REDIS:
            return _kill_redis(site, fault)
        case FaultKind.KILL:
            return _kill(site, fault)
        case FaultKind.TERM:
            return _term(site, fault)
        case _:
            return _break_network(site, fault)


def _kill_redis(site: ChaosSite, fault: InjectedFault) -> Injected:
    began_s = time.monotonic()
    site.redis.kill()
    site.redis.start(within_s=300)
    return Injected(fault, began_s, time.monotonic())


def _kill(site: ChaosSite, fault: InjectedFault) -> Injected:
    worker = site.workers[fault.target]
    run = _ready(worker)
    process = run.worker.process
    run.is_end_expected = True
    began_s = time.monotonic()
    if fault.detail in ("before", "after"):
        kill_file = run.record.with_name(f"{run.record.name}.kill-{fault.detail}")
        kill_file.touch()
        _until(lambda: process.poll() is not None)
        kill_file.unlink(missing_ok=True)
    elif fault.detail in _TRAPS:
        _set_trap(worker.proxy, _trap(site, fault.detail, process.kill))
        _until(lambda: process.poll() is not None, within_s=0.5)
    process.kill()
    process.wait(10)
    ended_s = time.monotonic()
    return Injected(fault, began_s, ended_s, run, _single_jobs_in_flight(site.redis.client()))


def _term(site: ChaosSite, fault: InjectedFault) -> Injected:
    run = _ready(site.workers[fault.target])
    run.is_end_expected = True
    began_s = time.monotonic()
    run.worker.stop(within_s=60)
    return Injected(fault, began_s, time.monotonic(), run)


def _break_network(site: ChaosSite, fault: InjectedFault) -> Injected:
    proxy = site.proxy_of(fault.target)
    run = _ready(site.workers[fault.target]) if fault.target < len(site.workers) else None
    began_s = time.monotonic()
    match fault.kind:
        case FaultKind.CUT:
            proxy.cut()
        case FaultKind.RESET:
            proxy.reset()
        case FaultKind.HALF_OPEN:
            proxy.freeze()
        case FaultKind.FREEZE:
            proxy.swallows_new = True
            proxy.freeze()
            _later(fault.lasts_s, proxy, "swallows_new", value=False)
        case FaultKind.DELAY:
            proxy.delay_s = _DELAY_S
            _later(fault.lasts_s, proxy, "delay_s", value=0.0)
        case _:
            trap = _trap(site, fault.detail, lambda: None)
            trap.tears = True
            _set_trap(proxy, trap)
    return Injected(fault, began_s, time.monotonic() + fault.lasts_s, run)


def _trap(site: ChaosSite, name: str, action: Callable[[], None]) -> Trap:
    patterns, on_reply, forward_first = _TRAPS[name]
    pattern = patterns[-1 if site.worker_kind.name == "stock" else 0]
    return Trap(pattern, action, on_reply, forward_first)


def _set_trap(proxy: Proxy, trap: Trap) -> None:
    """Set a trap, and remove it when it was hit, or after `_TRAP_WAIT_S`."""
    proxy.trap = trap
    _until(lambda: trap.hits > 0)
    proxy.trap = None


def _ready(worker: SupervisedWorker) -> WorkerRun:
    """Wait until the worker takes jobs, and return its process."""
    _until(lambda: worker.current.is_ready, within_s=_READY_WITHIN_S)
    return worker.current


def _until(is_so: Callable[[], bool], *, within_s: float = _TRAP_WAIT_S) -> None:
    deadline = time.monotonic() + within_s
    while not is_so() and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL_S)


def _later(delay_s: float, proxy: Proxy, name: str, *, value: object) -> None:
    timer = threading.Timer(delay_s, setattr, (proxy, name, value))
    timer.daemon = True
    timer.start()


def _wait_until_over(done: Sequence[Injected]) -> None:
    """Wait until all lasting faults are over."""
    last_s = max((each.ended_s for each in done), default=0.0)
    time.sleep(max(0.0, last_s - time.monotonic()) + 0.2)


def _single_jobs_in_flight(client: redis.Redis) -> list[str]:
    """Return the ids of the unacknowledged jobs, bulk jobs left out."""
    with client:
        entries = client.hvals("unacked")
    found = [orjson.loads(entry) for entry in entries]
    return [message["headers"]["id"] for message, _, queue in found if queue != _BULK_QUEUE]
