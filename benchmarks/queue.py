"""What the queue path costs: sentq's worker beside a stock Celery worker, in one run.

    python -m benchmarks.queue [--json] [--jobs N]

Both answer with the same stand-in for a model, both acknowledge late and store standard Celery
results, and each shares one core with the same Redis, one after the other. Jobs are queued
before the worker starts; the clock runs from the first one taken to the last one answered.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.processes import RedisProcess, WorkerProcess

from sentq import Client
from sentq.embedded import find_redis_server

STOCK = ("celery", "-A", "tests.stock", "worker", "-P", "solo", "-l", "INFO", "-Q", "sentq")
OURS = ("tests.standin",)

_TEXT = (
    "A hundred characters of plain English, as a short review of a film may be written, at length."
)


class Bench:
    """A Redis on one core, and workers that are measured beside it."""

    def __init__(self, folder: Path, core: int) -> None:
        self._folder = folder
        self._core = core
        self.redis = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        if self.redis.process is not None:
            os.sched_setaffinity(self.redis.process.pid, {core})
        self.client = Client(broker_url=self.redis.url)

    def close(self) -> None:
        self.client.close()
        self.redis.stop()

    def rate(self, command: Sequence[str], *, jobs: int, texts: int) -> float:
        """Jobs a second, from a full queue."""
        with self.redis.client() as redis:
            redis.flushall()
            handles = [self.client.submit([_TEXT] * texts) for _ in range(jobs)]
            worker = self._worker(command)
            left = jobs
            while left == jobs:
                if worker.process.poll() is not None:
                    raise RuntimeError(f"the worker ended: {worker.log}")
                time.sleep(0.001)
                left = int(redis.llen("sentq"))
            started = time.perf_counter()
            handles[-1].result(timeout=120)
            elapsed_s = time.perf_counter() - started
        worker.stop()
        return left / elapsed_s

    def latencies_ms(self, command: Sequence[str], *, jobs: int) -> list[float]:
        """From submit to result in hand, one job at a time on an idle worker."""
        with self.redis.client() as redis:
            redis.flushall()
        worker = self._worker(command).wait_until_ready()
        self.client.submit(_TEXT).result(timeout=60)
        taken = []
        for _ in range(jobs):
            started = time.perf_counter()
            self.client.submit(_TEXT).result(timeout=60)
            taken.append((time.perf_counter() - started) * 1000)
        worker.stop()
        return taken

    def _worker(self, command: Sequence[str]) -> WorkerProcess:
        environment = {"SENTQ_BROKER_URL": self.redis.url, "SENTQ_WORKER_PREFETCH_JOBS": "512"}
        worker = WorkerProcess(self._folder, environment, command)
        os.sched_setaffinity(worker.process.pid, {self._core})
        return worker


def measure(jobs: int) -> dict[str, float]:
    """Run everything once and return the figures."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), cores[0])
        try:
            stock = bench.rate(STOCK, jobs=max(500, jobs // 10), texts=1)
            ours = bench.rate(OURS, jobs=jobs, texts=1)
            full = bench.rate(OURS, jobs=max(200, jobs // 20), texts=256)
            stock_ms = bench.latencies_ms(STOCK, jobs=300)
            ours_ms = bench.latencies_ms(OURS, jobs=300)
        finally:
            bench.close()
    return {
        "stock_jobs_per_s": round(stock, 1),
        "sentq_jobs_per_s": round(ours, 1),
        "ratio": round(ours / stock, 2),
        "sentq_texts_per_s_256": round(full * 256),
        "latency_ms_p50": round(statistics.median(ours_ms), 2),
        "latency_ms_p99": round(statistics.quantiles(ours_ms, n=100)[98], 2),
        "stock_latency_ms_p50": round(statistics.median(stock_ms), 2),
        "stock_latency_ms_p99": round(statistics.quantiles(stock_ms, n=100)[98], 2),
    }


def main() -> None:
    """Print the figures: a line each, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs of one text to queue")
    options = parser.parse_args()
    figures = measure(options.jobs)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<24}{value:>12,}")


if __name__ == "__main__":
    main()
