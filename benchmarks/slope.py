"""What a worker keeps of the jobs it has done: memory, file descriptors, keys in Redis.

    python -m benchmarks.slope [--json] [--jobs N]

One worker with the stand-in engine answers jobs of one to three texts without end; every tenth of
the way its memory is read. The first fifth is warm-up; the slope is that of the straight line
through the rest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import show
from sentq import Client
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess, WorkerProcess, eventually

_WARM_UP: Final = 0.2
_POINTS: Final = 40
_TOGETHER: Final = 2_000
_MOST_WAITING: Final = 10_000

#: Outcomes go soon, so that Redis is as it was when the run ends.
_RESULT_TTL_S: Final = 20

_MIB: Final = 2**20


def measure(jobs: int, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Let one worker do so many jobs, and return what it and Redis kept."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        redis = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        ttl_s = str(_RESULT_TTL_S)
        environment = {"SENTQ_BROKER_URL": redis.url, "SENTQ_RESULT_TTL_S": ttl_s}
        worker = WorkerProcess(
            folder, environment, ("tests.support.workers.standin",)
        ).wait_until_ready()
        try:
            return _measure(redis, worker, jobs, say)
        finally:
            worker.stop()
            redis.stop()


def _measure(
    redis: RedisProcess, worker: WorkerProcess, jobs: int, say: Callable[[str], None]
) -> dict[str, Any]:
    pid = worker.process.pid
    points: list[tuple[float, float]] = []
    started = time.monotonic()
    with (
        redis.client() as connection,
        Client(broker_url=redis.url, result_ttl_s=_RESULT_TTL_S) as client,
    ):
        client.submit("the first").result(timeout=60)
        time.sleep(_RESULT_TTL_S + 5)
        keys, descriptors = int(connection.dbsize()), _descriptors(pid)
        first_mib = _resident_mib(pid)
        for sent in range(0, jobs, _TOGETHER):
            count = min(_TOGETHER, jobs - sent)
            client.submit_many([[f"text {sent + n}"] * (1 + n % 3) for n in range(count)])
            while int(connection.llen("sentq")) > _MOST_WAITING:
                time.sleep(0.01)
            done = sent + count
            if done * _POINTS // jobs > sent * _POINTS // jobs:
                points.append((done / 100_000, _resident_mib(pid)))
                say(f"{done:,} of {jobs:,} jobs, {points[-1][1]:.1f} MiB")
        eventually(
            lambda: not connection.llen("sentq") and not connection.hlen("unacked"), within_s=600
        )
        took_s = time.monotonic() - started
        eventually(lambda: int(connection.dbsize()) <= keys, within_s=5 * _RESULT_TTL_S)
        keys_after, descriptors_after = int(connection.dbsize()), _descriptors(pid)
    warm = [point for point in points if point[0] * 100_000 >= _WARM_UP * jobs]
    slope = statistics.linear_regression(*zip(*warm, strict=True)).slope
    return {
        "jobs": jobs,
        "mib_at_the_start": round(first_mib, 1),
        "mib_after_warm_up": round(warm[0][1], 1),
        "mib_at_the_end": round(warm[-1][1], 1),
        "mb_per_100k_jobs": round(slope * _MIB / 1e6, 3),
        "descriptors_before": descriptors,
        "descriptors_after": descriptors_after,
        "redis_keys_before": keys,
        "redis_keys_after": keys_after,
        "took_s": round(took_s, 1),
    }


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    """Print the figures: a line each, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--jobs", type=int, default=2_000_000, help="jobs to do")
    options = parser.parse_args()
    figures = measure(options.jobs, lambda line: print(line, file=sys.stderr))
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
