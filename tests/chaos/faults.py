"""Inflicts a schedule on a site, and keeps a record of what was done, to whom, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
import redis

from tests.chaos.schedule import FaultKind, InjectedFault
from tests.chaos.site import ChaosSite, Life, Place
from tests.support.proxy import Proxy, Trap

__all__ = ["Inflicted", "inflict"]

#: The queue for bulk work, whose jobs wait for all others.
_BULK_QUEUE: Final = "sentq.bulk"

#: How long to wait until a worker that is to break has started.
_READY_WITHIN_S: Final = 30.0

#: How long a trap waits for its bytes, or its point in a round, before the fault comes anyway.
_TRAPPED_WITHIN_S: Final = 3.0

#: How long everything that passes is kept back while a connection is slow, each time.
_DELAY_S: Final = 0.3

_LOOK_AGAIN_S: Final = 0.01

#: The traps of kill points and of what is torn. Stock Celery takes with BRPOP.
_TRAPS: Final = {
    "take": ((b"LTRIM", b"BRPOP"), False, False),
    "taken": ((b"LTRIM", b"BRPOP"), False, True),
    "finish": ((b'"SUCCESS"',), False, False),
    "finished": ((b'"SUCCESS"',), False, True),
    "take-reply": ((b"LTRIM", b"BRPOP"), True, False),
    "finish-reply": ((b'"SUCCESS"',), True, False),
}


@dataclass(frozen=True)
class Inflicted:
    """A fault as it came to pass, between two points of monotonic time.

    `life` is the worker's process that was hit, if one was; `held` are the ids of the jobs that
    somebody held just after a kill. Not those of the queue for bulk work: given back, they wait
    for all single jobs, however many there are.
    """

    fault: InjectedFault
    began_s: float
    ended_s: float
    life: Life | None = None
    held: Sequence[str] = ()


def inflict(
    site: ChaosSite, schedule: Sequence[InjectedFault], *, say: Callable[[str], None]
) -> list[Inflicted]:
    """Do what the schedule says, one fault after the other; what lasts, lasts beside the next.

    Args:
        site: Where.
        schedule: What, in the order of time. Where one takes long, the next ones come late.
        say: Is told of each fault.
    """
    started = time.monotonic()
    done: list[Inflicted] = []
    for number, fault in enumerate(schedule):
        time.sleep(max(0.0, started + fault.at_s - time.monotonic()))
        done.append(_one(site, fault))
        say(f"{number + 1}/{len(schedule)} {fault.kind} {fault.detail}".rstrip())
    _thaw(site, done)
    return done


def _one(site: ChaosSite, fault: InjectedFault) -> Inflicted:
    match fault.kind:
        case FaultKind.REDIS:
            return _kill_redis(site, fault)
        case FaultKind.KILL:
            return _kill(site, fault)
        case FaultKind.TERM:
            return _term(site, fault)
        case _:
            return _break_network(site, fault)


def _kill_redis(site: ChaosSite, fault: InjectedFault) -> Inflicted:
    began_s = time.monotonic()
    site.redis.kill()
    site.redis.start(within_s=300)
    return Inflicted(fault, began_s, time.monotonic())


def _kill(site: ChaosSite, fault: InjectedFault) -> Inflicted:
    place = site.places[fault.place]
    life = _ready(place)
    process = life.worker.process
    life.is_doomed = True
    began_s = time.monotonic()
    if fault.detail in ("before", "after"):
        told = life.record.with_name(f"{life.record.name}.kill-{fault.detail}")
        told.touch()
        _until(lambda: process.poll() is not None)
        told.unlink(missing_ok=True)
    elif fault.detail in _TRAPS:
        _spring(place.proxy, _trap(site, fault.detail, process.kill))
        _until(lambda: process.poll() is not None, within_s=0.5)
    process.kill()
    process.wait(10)
    ended_s = time.monotonic()
    return Inflicted(fault, began_s, ended_s, life, _held(site.redis.client()))


def _term(site: ChaosSite, fault: InjectedFault) -> Inflicted:
    life = _ready(site.places[fault.place])
    life.is_doomed = True
    began_s = time.monotonic()
    life.worker.stop(within_s=60)
    return Inflicted(fault, began_s, time.monotonic(), life)


def _break_network(site: ChaosSite, fault: InjectedFault) -> Inflicted:
    proxy = site.proxy_of(fault.place)
    life = _ready(site.places[fault.place]) if fault.place < len(site.places) else None
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
            _spring(proxy, trap)
    return Inflicted(fault, began_s, time.monotonic() + fault.lasts_s, life)


def _trap(site: ChaosSite, name: str, action: Callable[[], None]) -> Trap:
    patterns, on_reply, forward_first = _TRAPS[name]
    pattern = patterns[-1 if site.team.name == "stock" else 0]
    return Trap(pattern, action, on_reply, forward_first)


def _spring(proxy: Proxy, trap: Trap) -> None:
    """Set a trap, and take it away when it was hit, or nobody came."""
    proxy.trap = trap
    _until(lambda: trap.hits > 0)
    proxy.trap = None


def _ready(place: Place) -> Life:
    """The worker's process that takes jobs now."""
    _until(lambda: place.life.is_ready, within_s=_READY_WITHIN_S)
    return place.life


def _until(look: Callable[[], bool], *, within_s: float = _TRAPPED_WITHIN_S) -> None:
    deadline = time.monotonic() + within_s
    while not look() and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN_S)


def _later(delay_s: float, proxy: Proxy, name: str, *, value: object) -> None:
    timer = threading.Timer(delay_s, setattr, (proxy, name, value))
    timer.daemon = True
    timer.start()


def _thaw(site: ChaosSite, done: Sequence[Inflicted]) -> None:
    """Wait until what lasts is over."""
    last_s = max((each.ended_s for each in done), default=0.0)
    time.sleep(max(0.0, last_s - time.monotonic()) + 0.2)


def _held(client: redis.Redis) -> list[str]:
    """The ids of the jobs that somebody holds."""
    with client:
        entries = client.hvals("unacked")
    found = [orjson.loads(entry) for entry in entries]
    return [message["headers"]["id"] for message, _, queue in found if queue != _BULK_QUEUE]
