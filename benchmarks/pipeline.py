"""The whole service beside its own engine: one run, one core, the same texts, the real model.

    python benchmarks/pipeline.py [--json] [--texts N] [--repeats N] [--dtype D] [--cores A,B]
    python benchmarks/pipeline.py --workers 2 [--json]

Client, Redis and worker run on the same core as the bare engine, so the ratio contains all costs of
the queue, and no work is done on an uncounted core.

With `--workers 2`, the whole service on one core with one worker is compared with the service on
two cores with one worker each. The second worker is stopped while the first one runs alone.

The ways take turns, so that other work of the machine slows down all of them alike; figures are
medians over the turns.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before torch is imported: two OpenMP threads on one core are up to 20 times slower than one.
os.environ["OMP_NUM_THREADS"] = "1"
# Python searches the folder of a script first, where `queue` would hide the standard library's.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import signal
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from benchmarks.figures import argument_parser, max_abs_diff, show
from benchmarks.texts import make_texts
from benchmarks.turns import take_turns, timed
from sentq import Client
from sentq.contract import JobOutcome, Limits, Outcome, Prediction
from sentq.dev.embedded import find_redis_server
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
from tests.support.processes import RedisProcess, WorkerProcess

_TIMEOUT_S: Final = 300


class BenchmarkedService:
    """A Redis, a client, and one worker per core, which share these cores."""

    def __init__(self, folder: Path, cores: Sequence[int], *, dtype: str) -> None:
        self._cores = list(cores)
        self._redis = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        self.client = Client(broker_url=self._redis.url)
        self._workers: list[WorkerProcess] = []
        for core in cores:
            _pin_to([core])  # A child process inherits the affinity.
            self._workers.append(WorkerProcess(folder, self._environment(dtype)))
        self.use(len(cores))

    def _environment(self, dtype: str) -> dict[str, str]:
        return {
            "SENTQ_BROKER_URL": self._redis.url,
            "SENTQ_WORKER_DEVICE": "cpu",
            "SENTQ_WORKER_DTYPE": dtype,
            "SENTQ_WORKER_THREADS": "1",
        }

    def wait_until_ready(self) -> None:
        """Wait until all workers take jobs."""
        for worker in self._workers:
            worker.wait_until_ready()

    def use(self, count: int) -> None:
        """Run this number of workers, on their cores, and stop the others.

        No job may be in flight.
        """
        for index, worker in enumerate(self._workers):
            worker.process.send_signal(signal.SIGCONT if index < count else signal.SIGSTOP)
        _pin_to(self._cores[:count])
        if self._redis.process is not None:
            _pin_to(self._cores[:count], pid=self._redis.process.pid)

    def stop(self) -> None:
        """Stop workers, client and Redis."""
        self.use(len(self._workers))
        self.client.close()
        for worker in self._workers:
            worker.stop()
        self._redis.stop()

    def map(self, texts: Sequence[str]) -> list[Outcome]:
        """Score a stream of texts in order, as for a table of texts."""
        return list(self.client.map(texts, timeout=_TIMEOUT_S))

    def singles(self, texts: Sequence[str]) -> list[Outcome]:
        """Score one job per text, as from many users; submit all before the first is read."""
        jobs = self.client.submit_many(texts)
        results = self.client.results(jobs, timeout=_TIMEOUT_S)
        return [outcome for result in results for outcome in _outcomes(result)]


@contextmanager
def running_service(cores: Sequence[int], *, dtype: str) -> Iterator[BenchmarkedService]:
    """Yield a service whose workers take jobs, and stop it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        service = BenchmarkedService(Path(folder), cores, dtype=dtype)
        try:
            service.wait_until_ready()
            yield service
        finally:
            service.stop()


def measure_overhead(
    texts: Sequence[str], *, core: int, repeats: int, dtype: str
) -> dict[str, object]:
    """Measure the service beside the bare engine, on one core."""
    _pin_to([core])
    settings = WorkerSettings.load(device="cpu", dtype=dtype, threads=1)
    scorer = load_scorer(settings, Limits())
    dtype = scorer.engine.info.dtype  # `auto` could choose another dtype for the worker.
    with running_service([core], dtype=dtype) as service:
        tps, outcomes = take_turns(
            {
                "engine": lambda texts: scorer.score([texts])[0],
                "service": service.map,
                "service_singles": service.singles,
            },
            texts,
            repeats=repeats,
            warm_up_texts=256,
        )
    return {
        "dtype": dtype,
        "texts": len(texts),
        **{f"{name}_tps": round(rate, 1) for name, rate in tps.items()},
        "service_over_engine": round(tps["service"] / tps["engine"], 3),
        "service_singles_over_engine": round(tps["service_singles"] / tps["engine"], 3),
        "max_abs_diff": max(
            max_abs_diff(_scores(outcomes[name]), _scores(outcomes["engine"]))
            for name in ("service", "service_singles")
        ),
    }


def measure_scaling(
    texts: Sequence[str], *, cores: Sequence[int], repeats: int, dtype: str
) -> dict[str, object]:
    """Measure the service on one core beside the service on all of these cores."""
    tps: dict[int, list[float]] = {1: [], len(cores): []}
    with running_service(cores, dtype=dtype) as service:
        service.map(texts)  # warm-up
        for _ in range(repeats):
            for count, rates in tps.items():
                service.use(count)
                rates.append(len(texts) / timed(service.map, texts)[0])
    one, all_of_them = (statistics.median(rates) for rates in tps.values())
    return {
        "texts": len(texts),
        "workers": len(cores),
        "one_worker_tps": round(one, 1),
        "all_workers_tps": round(all_of_them, 1),
        "workers_over_one": round(all_of_them / one, 2),
    }


def _outcomes(result: object) -> Sequence[Outcome]:
    if not isinstance(result, JobOutcome):
        raise TypeError(f"a job has no outcome: {result!r}")
    return result.outcomes


def _scores(outcomes: Sequence[Outcome]) -> list[list[float]]:
    """Return the scores of all labels for each text; each text must have a prediction."""
    scores = []
    for outcome in outcomes:
        if not isinstance(outcome, Prediction):
            raise TypeError(f"a text has no prediction: {outcome!r}")
        scores.append(list(outcome.scores.values()))
    return scores


def _pin_to(cores: Sequence[int], *, pid: int = 0) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, cores)


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    parser = argument_parser(__doc__)
    parser.add_argument("--texts", type=int, default=2000, help="texts per turn (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way (%(default)s)")
    parser.add_argument("--dtype", default="auto", help="as in SENTQ_WORKER_DTYPE (%(default)s)")
    parser.add_argument("--cores", help="the cores to use, separated by commas")
    parser.add_argument(
        "--workers", type=int, default=1, help="if more than one, measure the scaling"
    )
    options = parser.parse_args()
    cores = _cores(options.cores)
    texts = make_texts(options.texts)
    report: dict[str, object]
    if options.workers == 1:
        report = measure_overhead(
            texts, core=cores[0], repeats=options.repeats, dtype=options.dtype
        )
    elif options.workers <= len(cores):
        report = measure_scaling(
            texts, cores=cores[: options.workers], repeats=options.repeats, dtype=options.dtype
        )
    else:
        parser.error(f"{options.workers} workers need as many cores; {len(cores)} are available")
    show(report, as_json=options.json)


def _cores(wanted: str | None) -> list[int]:
    if wanted is not None:
        return [int(core) for core in wanted.split(",")]
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0), reverse=True)
    return list(range(os.cpu_count() or 1))


if __name__ == "__main__":
    main()
