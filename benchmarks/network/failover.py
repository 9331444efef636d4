"""The master is killed while jobs are sent and scored."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from benchmarks.network.zone import DOWN_AFTER_S, Distance, Zone, found, is_master
from tests.support.processes import eventually

__all__ = ["failovers"]

#: How long all is well before a master is killed, and how long after a failover the old one starts
#: again, in seconds.
_QUIET_S: Final = 8.0

#: How long a failover and the synchronisation of the new replica may take, for the sender's time.
_FAILOVER_S: Final = 20.0

#: What a stock worker scores over this distance.
_JOBS_PER_S: Final = 20

#: How long no further outcome comes until none is waited for: a lease of a lost worker ends in this
#: time.
_SETTLE_S: Final = 45.0


def failovers(
    ways: Mapping[str, tuple[str, Sequence[str]]], distance: Distance, *, times: int
) -> dict[str, dict[str, float]]:
    """Return what each way does while masters are killed.

    Args:
        ways: The client and the worker's command of each.
        distance: What is between the hosts and Redis.
        times: How often a master is killed.
    """
    return {name: _failover(*way, distance, times) for name, way in ways.items()}


def _failover(
    client: str, command: Sequence[str], distance: Distance, times: int
) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, Zone(Path(folder), distance) as zone:
        seconds = times * (2 * _QUIET_S + _FAILOVER_S)
        with zone.worker(command, {}):
            sender = zone.start_sender(client, "steady", str(seconds), str(_JOBS_PER_S))
            kills = [_kill_master(zone) for _ in range(times)]
            sent = found(sender)
            accepted = dict(sent["accepted"])
            done_at = _wait_for_outcomes(zone, list(accepted))
    return {
        "kills": times,
        "jobs": len(accepted),
        "lost": len(accepted) - len(done_at),
        "refused": sent["refused"],
        "restarts": sent["restarts"],
        "sentinel_waits_s": DOWN_AFTER_S,
        "accepts_after_s_p50": round(_median_pause_s(kills, accepted.values()), 1),
        "scores_after_s_p50": round(_median_pause_s(kills, done_at.values()), 1),
    }


def _kill_master(zone: Zone) -> float:
    """Kill the master, start it again when there is another, and return when it was killed."""
    time.sleep(_QUIET_S)
    old = zone.master
    (other,) = (each for each in zone.servers if each is not old)
    killed_at = time.time()
    old.kill()
    eventually(lambda: is_master(other), within_s=60, what="another master")
    time.sleep(_QUIET_S)
    old.start()
    with other.client() as client:
        eventually(lambda: client.wait(1, 100) == 1, within_s=60, what="a replica")
    return killed_at


def _wait_for_outcomes(zone: Zone, ids: Sequence[str]) -> dict[str, float]:
    """Return when each job was done, in Unix seconds, without those that never are."""
    done, since_s = 0, time.monotonic()
    while time.monotonic() < since_s + _SETTLE_S:
        done_at = _done_at(zone, ids)
        if len(done_at) == len(ids):
            break
        if len(done_at) > done:
            done, since_s = len(done_at), time.monotonic()
        time.sleep(1)
    return done_at


def _done_at(zone: Zone, ids: Sequence[str]) -> dict[str, float]:
    return {
        job_id: datetime.fromisoformat(document["date_done"]).timestamp()
        for job_id, document in zone.successes(ids).items()
    }


def _median_pause_s(kills: Sequence[float], times: Iterable[float]) -> float:
    """Return how long after a kill the next of these times is, for the median kill.

    A reply that was on its way at the kill comes within the first second.
    """
    return statistics.median(
        min((at for at in times if at > killed_at + 1.0), default=float("inf")) - killed_at
        for killed_at in kills
    )
