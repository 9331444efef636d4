"""Growth of a worker over many jobs: memory, file descriptors, keys in Redis.

    python -m benchmarks.slope [--json] [--jobs N]

One worker with the stand-in engine runs jobs of one to three texts, and its memory is read 40
times. The first fifth is warm-up; the slope is that of the regression line through the rest.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import argument_parser, show
from sentq import Client
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess, WorkerProcess, eventually

_WARM_UP: Final = 0.2
_POINTS: Final = 40
_JOBS_PER_CALL: Final = 2_000
_MAX_PENDING: Final = 10_000

#: Results expire soon, so that Redis has as many keys as before when the run ends.
_RESULT_TTL_S: Final = 20

_MIB: Final = 2**20


def measure(jobs: int, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Run jobs on one worker, and return the growth of the worker and of Redis."""
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
    points: list[tuple[float, float]] = []  # (100,000 jobs, MiB)
    started = time.monotonic()
    with (
        redis.client() as connection,
        Client(broker_url=redis.url, result_ttl_s=_RESULT_TTL_S) as client,
    ):
        client.submit("the first").result(timeout=60)
        time.sleep(_RESULT_TTL_S + 5)
        keys, descriptors = int(connection.dbsize()), open_descriptors(pid)
        first_mib = resident_mib(pid)
        for sent in range(0, jobs, _JOBS_PER_CALL):
            count = min(_JOBS_PER_CALL, jobs - sent)
            client.submit_many([[f"text {sent + n}"] * (1 + n % 3) for n in range(count)])
            while int(connection.llen("sentq")) > _MAX_PENDING:
                time.sleep(0.01)
            done = sent + count
            if done * _POINTS // jobs > sent * _POINTS // jobs:
                points.append((done / 100_000, resident_mib(pid)))
                say(f"{done:,} of {jobs:,} jobs, {points[-1][1]:.1f} MiB")
        eventually(
            lambda: not connection.llen("sentq") and not connection.hlen("unacked"), within_s=600
        )
        took_s = time.monotonic() - started
        eventually(lambda: int(connection.dbsize()) <= keys, within_s=5 * _RESULT_TTL_S)
        keys_after, descriptors_after = int(connection.dbsize()), open_descriptors(pid)
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


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def open_descriptors(pid: int) -> int:
    """Return the number of open file descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    parser = argument_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=2_000_000, help="jobs to run (%(default)s)")
    options = parser.parse_args()
    figures = measure(options.jobs, lambda line: print(line, file=sys.stderr))
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
