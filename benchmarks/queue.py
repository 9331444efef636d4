"""The cost of the queue: sentq beside stock Celery, in one run.

    python -m benchmarks.queue [--json] [--jobs N] [--backlog]

Both have the same engine, which returns at once, acknowledge late, and store standard Celery
results. Worker and Redis share one core. For the rate of a worker, the jobs are queued before it
starts, and the time runs from the first job taken to the last result.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import argument_parser, show
from benchmarks.instant import app as stock_app
from benchmarks.slope import resident_mib
from sentq import Client
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess, WorkerProcess

STOCK: Final = (
    *("celery", "-A", "benchmarks.instant", "worker"),
    *("-P", "solo", "-Q", "sentq", "-l", "INFO"),
)
SENTQ: Final = ("benchmarks.instant",)

#: As in the preset for a GPU, the engine that is closest to one that returns at once.
SETTINGS: Final = {"SENTQ_WORKER_PREFETCH_JOBS": "512", "SENTQ_WORKER_BATCH_TOKENS": "16384"}

#: How many times each rate of the encryption ratios is measured.
_TURNS: Final = 3

_TEXT: Final = (
    "A hundred characters of plain English, as a short review of a film may be written, at length."
)


class Bench:
    """A Redis on one core, and the workers and clients that are measured with it."""

    def __init__(self, folder: Path, *, keys: Sequence[str] = ()) -> None:
        self._folder = folder
        self._keys = keys
        cores = sorted(os.sched_getaffinity(0))
        self._core, self._other_core = cores[0], cores[-1]
        self.redis = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        if self.redis.process is not None:
            os.sched_setaffinity(self.redis.process.pid, {self._core})
        self.client = Client(broker_url=self.redis.url, encryption_keys=list(keys))
        stock_app.conf.update(broker_url=self.redis.url, result_backend=self.redis.url)
        self._score = stock_app.tasks["sentq.score"]
        self.leave_the_core()

    def close(self) -> None:
        """Close the client and stop Redis."""
        self.client.close()
        self.redis.stop()

    def share_the_core(self) -> None:
        """Run this process on the core of Redis and the worker."""
        os.sched_setaffinity(0, {self._core})

    def leave_the_core(self) -> None:
        """Run this process on another core, if there is one."""
        os.sched_setaffinity(0, {self._other_core})

    @contextmanager
    def worker(self, command: Sequence[str], *, is_ready: bool = True) -> Iterator[WorkerProcess]:
        """Run a worker on the core; with `is_ready`, wait until it takes jobs."""
        environment = {"SENTQ_BROKER_URL": self.redis.url, **SETTINGS}
        environment["SENTQ_ENCRYPTION_KEYS"] = ",".join(self._keys)
        worker = WorkerProcess(self._folder, environment, command)
        os.sched_setaffinity(worker.process.pid, {self._core})
        if is_ready:
            worker.wait_until_ready()
        yield worker
        worker.stop()

    def empty(self) -> None:
        """Delete all keys in Redis."""
        with self.redis.client() as redis:
            redis.flushall()

    def rate(self, command: Sequence[str], *, jobs: int, texts: int) -> float:
        """Return the jobs per second of a worker with a full queue."""
        self.empty()
        handles = self.client.submit_many([[_TEXT] * texts] * jobs)
        with self.redis.client() as redis, self.worker(command, is_ready=False) as worker:
            left = jobs
            while left == jobs:
                if worker.process.poll() is not None:
                    raise RuntimeError(f"the worker exited: {worker.log}")
                time.sleep(0.001)
                left = int(redis.llen("sentq"))
            started = time.perf_counter()
            handles[-1].result(timeout=120)
            return left / (time.perf_counter() - started)

    def send_rates(self, *, stock_jobs: int, jobs: int) -> tuple[float, float]:
        """Return jobs per second sent with `apply_async` one by one, and with `submit_many`."""
        self.empty()
        self.share_the_core()
        self._score.apply_async(args=[[_TEXT]], queue="sentq")
        self.client.submit(_TEXT)
        started = time.perf_counter()
        for _ in range(stock_jobs):
            self._score.apply_async(args=[[_TEXT]], queue="sentq")
        stock = stock_jobs / (time.perf_counter() - started)
        sentq = self.send_rate(jobs=jobs)
        self.leave_the_core()
        return stock, sentq

    def send_rate(self, *, jobs: int) -> float:
        """Return jobs per second sent with `submit_many`."""
        started = time.perf_counter()
        self.client.submit_many([_TEXT] * jobs)
        return jobs / (time.perf_counter() - started)

    def round_trip(self, *, jobs: int) -> tuple[float, float]:
        """Return jobs per second sent, scored and received on one core, and the time to read.

        The time is in microseconds, for a result that is already stored.
        """
        self.empty()
        with self.worker(SENTQ):
            self.client.submit(_TEXT).result(timeout=60)
            self.share_the_core()
            started = time.perf_counter()
            handles = self.client.submit_many([_TEXT] * jobs)
            received = sum(1 for _ in self.client.results(handles, timeout=60))
            rate = received / (time.perf_counter() - started)
        started = time.perf_counter()
        received = sum(1 for _ in self.client.results(handles, timeout=60))
        read_us = (time.perf_counter() - started) / received * 1e6
        self.leave_the_core()
        return rate, read_us

    def latencies_ms(self, *, jobs: int) -> tuple[list[float], list[float]]:
        """Return the times from sending to result, for single jobs on an idle worker.

        The first list is for client and worker of stock Celery, the second for those of sentq.
        """
        self.empty()
        with self.worker(STOCK):
            stock = [
                _timed_ms(
                    lambda: self._score.apply_async(args=[[_TEXT]], queue="sentq").get(timeout=60)
                )
                for _ in range(jobs + 1)
            ]
        self.empty()
        with self.worker(SENTQ):
            sentq = [
                _timed_ms(lambda: self.client.submit(_TEXT).result(timeout=60))
                for _ in range(jobs + 1)
            ]
        return stock[1:], sentq[1:]

    def backlog(self, *, waiting: int, jobs: int) -> dict[str, float]:
        """Return the jobs per second of a worker with so many jobs pending, and its memory."""
        self.empty()
        with self.redis.client() as redis, self.worker(SENTQ) as worker:
            self.client.submit(_TEXT).result(timeout=60)
            first_mib = resident_mib(worker.process.pid)
            os.kill(worker.process.pid, signal.SIGSTOP)
            sent = 0
            while sent < waiting:
                sent += len(self.client.submit_many([_TEXT] * min(50_000, waiting - sent)))
            os.kill(worker.process.pid, signal.SIGCONT)
            started = time.perf_counter()
            done_before = sent - int(redis.llen("sentq"))
            while (done := sent - int(redis.llen("sentq")) - done_before) < jobs:
                if sent - done_before - done < waiting:
                    sent += len(self.client.submit_many([_TEXT] * 500))
            elapsed_s = time.perf_counter() - started
            last_mib = resident_mib(worker.process.pid)
        return {
            "waiting": waiting,
            "jobs_per_s": round(done / elapsed_s, 1),
            "worker_mib_before": round(first_mib, 1),
            "worker_mib_after": round(last_mib, 1),
        }


def _timed_ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def encryption_ratios(folder: Path, jobs: int) -> dict[str, float]:
    """Return what encryption leaves of the rates of a sender and of a worker: medians of turns."""
    benches = []
    for name, keys in (("plain", []), ("encrypted", [base64.b64encode(os.urandom(32)).decode()])):
        (folder / name).mkdir()
        benches.append(Bench(folder / name, keys=keys))
    ratios: dict[str, list[float]] = {"encrypted_send_ratio": [], "encrypted_ratio": []}
    try:
        for _ in range(_TURNS):
            rates = []
            for bench in benches:
                bench.empty()
                bench.share_the_core()
                bench.send_rate(jobs=1)
                sent = bench.send_rate(jobs=jobs)
                bench.leave_the_core()
                rates.append((sent, bench.rate(SENTQ, jobs=jobs, texts=1)))
            plain, encrypted = rates
            for ratio, before, after in zip(ratios.values(), plain, encrypted, strict=True):
                ratio.append(after / before)
    finally:
        for bench in benches:
            bench.close()
    return {name: round(statistics.median(each), 2) for name, each in ratios.items()}


def measure(jobs: int, *, backlog: bool) -> dict[str, Any]:
    """Run all measurements once, and return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            stock = bench.rate(STOCK, jobs=max(1000, jobs // 10), texts=1)
            sentq = bench.rate(SENTQ, jobs=jobs, texts=1)
            full = bench.rate(SENTQ, jobs=max(1000, jobs // 20), texts=256)
            stock_sent, sent = bench.send_rates(stock_jobs=max(1000, jobs // 20), jobs=jobs)
            round_trip, read_us = bench.round_trip(jobs=jobs)
            stock_ms, sentq_ms = bench.latencies_ms(jobs=500)
            figures: dict[str, Any] = {
                "stock_jobs_per_s": round(stock, 1),
                "sentq_jobs_per_s": round(sentq, 1),
                "ratio": round(sentq / stock, 2),
                "sentq_texts_per_s_256": round(full * 256),
                "stock_sent_per_s": round(stock_sent),
                "sentq_sent_per_s": round(sent),
                "send_ratio": round(sent / stock_sent, 1),
                "roundtrip_jobs_per_s": round(round_trip),
                "read_us_per_result": round(read_us, 2),
                "latency_ms_p50": round(statistics.median(sentq_ms), 2),
                "latency_ms_p99": round(statistics.quantiles(sentq_ms, n=100)[98], 2),
                "stock_latency_ms_p50": round(statistics.median(stock_ms), 2),
                "stock_latency_ms_p99": round(statistics.quantiles(stock_ms, n=100)[98], 2),
            }
            figures |= encryption_ratios(Path(folder), jobs=max(1000, jobs // 4))
            if backlog:
                figures["backlog"] = [
                    bench.backlog(waiting=waiting, jobs=2 * jobs) for waiting in (1_000, 1_000_000)
                ]
        finally:
            bench.close()
    return figures


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    parser = argument_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs of one text (%(default)s)")
    parser.add_argument(
        "--backlog", action="store_true", help="also measure with 1,000 and 1,000,000 pending jobs"
    )
    options = parser.parse_args()
    figures = measure(options.jobs, backlog=options.backlog)
    if options.json:
        print(json.dumps(figures))
        return
    for row in figures.pop("backlog", []):
        print(", ".join(f"{name} {value:,}" for name, value in row.items()))
    show(figures, as_json=False)


if __name__ == "__main__":
    main()
