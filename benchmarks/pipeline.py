"""The whole service beside its own engine: one run, one core, the same texts, the real model.

    python benchmarks/pipeline.py [--json] [--texts N] [--repeats N] [--dtype D] [--cores A,B]
    python benchmarks/pipeline.py --workers 2 [--json]

Client, Redis and worker all stay on the core that the bare engine gets. So whatever the way there
and back costs is missing from the engine, and nothing hides on a core that nobody counts.

With `--workers 2` it is the whole service on one core, with one worker, beside the whole service
on two, with a worker on each; the second one is halted while the first works alone.

Ways take turns, so that whatever else the machine does slows down all of them; each figure is the
median over the turns.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before torch is imported: two OpenMP threads on one core are up to 20 times slower than one.
os.environ["OMP_NUM_THREADS"] = "1"
# Python looks in a script's own folder first, where names would hide the standard library's.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import json
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from benchmarks.texts import make_texts
from sentq import Client
from sentq.contract import JobOutcome, Limits, Outcome, Prediction
from sentq.dev.embedded import find_redis_server
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
from tests.support.processes import RedisProcess, WorkerProcess

_TIMEOUT_S: Final = 300

Way = Callable[[Sequence[str]], Sequence[Outcome]]


class BenchmarkedService:
    """A Redis, a client, and a worker on each of some cores, which all of them share."""

    def __init__(self, folder: Path, cores: Sequence[int], *, dtype: str) -> None:
        self._cores = list(cores)
        self._redis = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        self._client = Client(broker_url=self._redis.url)
        self._workers: list[WorkerProcess] = []
        for core in cores:
            _keep_to([core])  # What is started from here on inherits it.
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
        """Wait until every worker takes jobs."""
        for worker in self._workers:
            worker.wait_until_ready()

    def use(self, count: int) -> None:
        """Let that many workers go on, and keep to their cores. Nothing may be in flight."""
        for index, worker in enumerate(self._workers):
            worker.process.send_signal(signal.SIGCONT if index < count else signal.SIGSTOP)
        _keep_to(self._cores[:count])
        if self._redis.process is not None:
            _keep_to(self._cores[:count], pid=self._redis.process.pid)

    def stop(self) -> None:
        """End what was started."""
        self.use(len(self._workers))
        self._client.close()
        for worker in self._workers:
            worker.stop()
        self._redis.stop()

    def map(self, texts: Sequence[str]) -> list[Outcome]:
        """A stream of texts in order, as somebody with a table of them sends it."""
        return list(self._client.map(texts, timeout=_TIMEOUT_S))

    def singles(self, texts: Sequence[str]) -> list[Outcome]:
        """A job a text, as many users send them: all are there before the first is read."""
        jobs = self._client.submit_many(texts)
        answers = self._client.results(jobs, timeout=_TIMEOUT_S)
        return [outcome for answer in answers for outcome in _outcomes(answer)]


@contextmanager
def _service(cores: Sequence[int], *, dtype: str) -> Iterator[BenchmarkedService]:
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
    """The service beside the bare engine, on one core."""
    _keep_to([core])
    settings = WorkerSettings.load(device="cpu", dtype=dtype, threads=1)
    scorer = load_scorer(settings, Limits())
    dtype = scorer.engine.info.dtype  # `auto` may choose anew: both are to compute the same.
    with _service([core], dtype=dtype) as service:
        tps, answers = _take_turns(
            {
                "engine": lambda texts: scorer.score([texts])[0],
                "service": service.map,
                "service_singles": service.singles,
            },
            texts,
            repeats=repeats,
        )
    return {
        "dtype": dtype,
        "texts": len(texts),
        **{f"{name}_tps": round(rate, 1) for name, rate in tps.items()},
        "service_over_engine": round(tps["service"] / tps["engine"], 3),
        "service_singles_over_engine": round(tps["service_singles"] / tps["engine"], 3),
        "max_abs_diff": max(
            _max_abs_diff(answers[name], answers["engine"])
            for name in ("service", "service_singles")
        ),
    }


def measure_scaling(
    texts: Sequence[str], *, cores: Sequence[int], repeats: int, dtype: str
) -> dict[str, object]:
    """The service on one core beside the service on all of these."""
    tps: dict[int, list[float]] = {1: [], len(cores): []}
    with _service(cores, dtype=dtype) as service:
        service.map(texts)  # warm
        for _ in range(repeats):
            for count, rates in tps.items():
                service.use(count)
                rates.append(len(texts) / _time_s(service.map, texts)[0])
    one, all_of_them = (statistics.median(rates) for rates in tps.values())
    return {
        "texts": len(texts),
        "workers": len(cores),
        "one_worker_tps": round(one, 1),
        "all_workers_tps": round(all_of_them, 1),
        "workers_over_one": round(all_of_them / one, 2),
    }


def _take_turns(
    ways: dict[str, Way], texts: Sequence[str], *, repeats: int
) -> tuple[dict[str, float], dict[str, Sequence[Outcome]]]:
    """Texts a second of each way, and what it answered."""
    for answer in ways.values():
        answer(texts[:256])  # warm
    times_s: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, Sequence[Outcome]] = {}
    for _ in range(repeats):
        for name, way in ways.items():
            time_s, answers[name] = _time_s(way, texts)
            times_s[name].append(time_s)
    return {name: len(texts) / statistics.median(each) for name, each in times_s.items()}, answers


def _time_s(way: Way, texts: Sequence[str]) -> tuple[float, Sequence[Outcome]]:
    started = time.perf_counter()
    answers = way(texts)
    return time.perf_counter() - started, answers


def _outcomes(answer: object) -> Sequence[Outcome]:
    if not isinstance(answer, JobOutcome):
        raise TypeError(f"a job has no outcome: {answer!r}")
    return answer.outcomes


def _max_abs_diff(answers: Sequence[Outcome], expected: Sequence[Outcome]) -> float:
    pairs = zip(answers, expected, strict=True)
    return max(
        abs(a - b)
        for answer, known in pairs
        for a, b in zip(_scores(answer), _scores(known), strict=True)
    )


def _scores(outcome: Outcome) -> list[float]:
    if not isinstance(outcome, Prediction):
        raise TypeError(f"a text has no prediction: {outcome!r}")
    return list(outcome.scores.values())


def _keep_to(cores: Sequence[int], *, pid: int = 0) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, cores)


def main() -> None:
    """Measure, and print a line a figure, or one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--texts", type=int, default=2000, help="texts of a turn")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way")
    parser.add_argument("--dtype", default="auto", help="as in SENTQ_WORKER_DTYPE")
    parser.add_argument("--cores", help="which to use, the first ones first, with commas")
    parser.add_argument("--workers", type=int, default=1, help="more than one: how they add up")
    options = parser.parse_args()
    cores = _cores(options.cores)
    texts = make_texts(options.texts)
    report: dict[str, Any]
    if options.workers == 1:
        report = measure_overhead(
            texts, core=cores[0], repeats=options.repeats, dtype=options.dtype
        )
    elif options.workers <= len(cores):
        report = measure_scaling(
            texts, cores=cores[: options.workers], repeats=options.repeats, dtype=options.dtype
        )
    else:
        parser.error(f"{options.workers} workers need as many cores; here are {len(cores)}")
    if options.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        print(f"{name:<28}{value:>16}")


def _cores(wanted: str | None) -> list[int]:
    if wanted is not None:
        return [int(core) for core in wanted.split(",")]
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0), reverse=True)
    return list(range(os.cpu_count() or 1))


if __name__ == "__main__":
    main()
