"""Rates and latencies over networks with latency and loss, and a failover, beside stock Celery.

    python -m benchmarks.network [--json] [--seconds N] [--failovers N]

Redis has TLS and is behind Sentinel. The client and the worker are on hosts of their own, each at
the given distance from Redis. The engine replies at once, so that only the queue is measured. *far*
is sentq with `batch_tokens = 16384` and `prefetch_jobs = 4096`. Takes root, the program `ip`, and a
Redis with TLS.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import redis

from benchmarks.figures import argument_parser
from benchmarks.network.failover import failovers
from benchmarks.network.zone import Distance, Zone
from tests.support.processes import eventually

_DISTANCES: Final = (
    Distance(),
    Distance(0.005),
    Distance(0.050),
    Distance(0.150),
    Distance(0.050, loss=0.01),
)

_STOCK: Final = (
    *("celery", "-A", "benchmarks.network.stock", "worker"),
    *("-P", "solo", "-Q", "sentq", "-l", "INFO"),
)
_SENTQ: Final = ("benchmarks.instant",)

_FAR: Final = {"SENTQ_WORKER_PREFETCH_JOBS": "4096", "SENTQ_WORKER_BATCH_TOKENS": "16384"}

#: The client, the worker, and the worker's settings.
_WAYS: Final[Mapping[str, tuple[str, Sequence[str], Mapping[str, str]]]] = {
    "stock": ("stock", _STOCK, {}),
    "sentq": ("sentq", _SENTQ, {}),
    "far": ("sentq", _SENTQ, _FAR),
}

_JOBS: Final = 50_000


def measure(distance: Distance, seconds: float) -> dict[str, dict[str, float]]:
    """Return the figures of each way over a distance."""
    return {name: _measure(name, distance, seconds) for name in _WAYS}


def _measure(name: str, distance: Distance, seconds: float) -> dict[str, float]:
    client, command, variables = _WAYS[name]
    with tempfile.TemporaryDirectory() as folder, Zone(Path(folder), distance) as zone:
        sent = zone.send(client, "backlog", str(_JOBS))
        ids = sent["ids"]
        if client == "stock":  # It sends few jobs in its time, and a worker could take more.
            ids += zone.send("sentq", "backlog", str(_JOBS // 10))["ids"]
        rate = _rate(zone, command, variables, len(ids), seconds)
        with zone.near_worker(_SENTQ):
            lost = _lost(zone, ids)
        with zone.worker(command, variables):
            single = zone.send(client, "single", str(seconds))
    return {
        "sent_per_s": round(sent["sent_per_s"], 1),
        "jobs_per_s": round(rate, 1),
        "latency_ms_p50": round(statistics.median(single["times_ms"]), 1),
        "latency_ms_max": round(max(single["times_ms"]), 1),
        "timeouts": single["timeouts"],
        "lost": lost,
    }


def _rate(
    zone: Zone, command: Sequence[str], variables: Mapping[str, str], jobs: int, seconds: float
) -> float:
    """Return the jobs per second of a worker that starts, from when it has finished the first."""
    with (
        zone.worker(command, variables, is_ready=False) as worker,
        zone.master.client() as client,
    ):
        while not (first := _done(client, jobs)):
            if worker.process.poll() is not None:
                raise RuntimeError(f"the worker exited: {worker.log}")
            time.sleep(0.001)
        started = time.perf_counter()
        while (done := _done(client, jobs)) < jobs and time.perf_counter() < started + seconds:
            time.sleep(0.005)
        return (done - first) / (time.perf_counter() - started)


def _done(client: redis.Redis, jobs: int) -> int:
    """Return how many of so many jobs neither wait nor are in flight."""
    with client.pipeline() as pipe:
        pipe.llen("sentq")
        pipe.zcard("unacked_index")
        waiting, in_flight = pipe.execute()
    return jobs - int(waiting) - int(in_flight)


def _lost(zone: Zone, ids: Sequence[str]) -> int:
    """Return how many jobs have no outcome once a worker has finished what is left."""
    with zone.master.client() as client:
        eventually(lambda: _done(client, len(ids)) == len(ids), within_s=120, what="no job left")
    return len(ids) - len(zone.successes(ids))


def _show(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    for distance, ways in figures.items():
        print(distance)
        for name, row in ways.items():
            values = "  ".join(f"{key} {value:,}" for key, value in row.items())
            print(f"  {name:<8}{values}")


def main() -> None:
    """Print the figures: a block for each distance, or one JSON object."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=10, help="time for each figure (%(default)s)")
    add("--failovers", type=int, default=3, help="kills of the master (%(default)s)")
    add("--only", type=int, nargs="*", help="only these distances, by their number from 0")
    options = parser.parse_args()
    chosen = _DISTANCES if options.only is None else [_DISTANCES[number] for number in options.only]
    figures: dict[str, Any] = {
        str(distance): measure(distance, options.seconds) for distance in chosen
    }
    if options.failovers:
        figures["failover"] = failovers(
            {name: _WAYS[name][:2] for name in ("stock", "sentq")},
            Distance(0.005),
            times=options.failovers,
        )
    if options.json:
        print(json.dumps(figures))
        return
    _show(figures)


if __name__ == "__main__":
    main()
