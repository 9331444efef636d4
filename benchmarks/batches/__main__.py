"""The cost of batches: reading their progress, sending and scoring their jobs.

    python -m benchmarks.batches [--json] [--jobs N] [--turns N]

Progress is read 1,000 times when a hundredth of the jobs has ended, and when all but a hundredth
have. Beside it, the same counts are found by reading the outcome of each job, as `GroupResult` of
Celery does. Jobs of a batch and plain ones are sent and scored in turn, by a worker whose engine
returns at once; client, worker and Redis share what cores there are.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.figures import argument_parser, show
from benchmarks.queue import SENTQ, SETTINGS
from sentq import Batch, Client
from sentq.dev.embedded import find_redis_server
from sentq.wire.batches import BatchPlace
from sentq_worker.broker.results import ResultStore, succeeded
from tests.support.processes import RedisProcess, WorkerProcess

_TEXT: Final = (
    "A hundred characters of plain English, as a short review of a film may be written, at length."
)
_READS: Final = 1000
_STEP: Final = 500


def _end(client: Client, batch: Batch, ids: Sequence[str], first: int) -> None:
    """End jobs of a batch as a worker does, in steps, from a place on."""
    store = ResultStore(client._app)  # noqa: SLF001 - the app of a worker would do the same
    outcome = {"outcomes": [{"label": "positive", "score": 0.9}], "model": "none"}
    for at in range(first, first + len(ids), _STEP):
        step = ids[at - first : at - first + _STEP]
        store.store(
            {job_id: succeeded(job_id, outcome) for job_id in step},
            places={job_id: BatchPlace(batch.id, at + n) for n, job_id in enumerate(step)},
        )


def _read_us(batch: Batch) -> float:
    """Return the microseconds that one reading of the progress takes: the median of a thousand."""
    taken = []
    for _ in range(_READS):
        started = time.perf_counter()
        batch.progress()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e6


def _count_by_reading_ms(client: Client, ids: Sequence[str]) -> float:
    """Return the milliseconds that it takes to read the outcomes of all jobs, 512 in a step."""
    results = client._results  # noqa: SLF001 - without waiting for those that have not ended
    started = time.perf_counter()
    for at in range(0, len(ids), 512):
        results.ready(ids[at : at + 512])
    return (time.perf_counter() - started) * 1e3


def _progress(client: Client, jobs: int) -> dict[str, float]:
    batch = client.batch(_TEXT for _ in range(jobs))
    ids = [job.id for job in batch.jobs()]
    figures: dict[str, float] = {}
    ended = 0
    for name, part in (("1_percent", jobs // 100), ("99_percent", jobs - jobs // 100)):
        _end(client, batch, ids[ended:part], ended)
        ended = part
        figures[f"progress_us_at_{name}"] = round(_read_us(batch), 1)
        figures[f"reading_outcomes_ms_at_{name}"] = round(_count_by_reading_ms(client, ids), 1)
    return figures


def _rate(send: Callable[[], object], jobs: int) -> float:
    started = time.perf_counter()
    send()
    return jobs / (time.perf_counter() - started)


class _Turns:
    """Plain jobs and those of a batch, in turn."""

    def __init__(self, server: RedisProcess, folder: Path, client: Client, jobs: int) -> None:
        self._server = server
        self._folder = folder
        self._client = client
        self._jobs = jobs

    def rates(self, *, in_batch: bool) -> tuple[float, float]:
        """Return how many jobs a second are sent, and scored."""
        with self._server.client() as redis:
            redis.flushall()
        texts = [_TEXT] * self._jobs
        client = self._client
        send = (
            (lambda: client.batch(texts))
            if in_batch
            else (lambda: client.submit_many(texts, bulk=True))
        )
        return _rate(send, self._jobs), self._scored_per_s()

    def _scored_per_s(self) -> float:
        environment = {"SENTQ_BROKER_URL": self._server.url, **SETTINGS}
        with self._server.client() as redis:
            worker = WorkerProcess(self._folder, environment, SENTQ)
            try:
                left = self._jobs
                while left == self._jobs:
                    time.sleep(0.001)
                    left = int(redis.llen("sentq.bulk"))
                started = time.perf_counter()
                while redis.llen("sentq.bulk") or redis.hlen("unacked"):
                    time.sleep(0.002)
                return left / (time.perf_counter() - started)
            finally:
                worker.stop()


def measure(*, jobs: int, turns: int) -> dict[str, float]:
    """Measure all figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        try:
            with Client(broker_url=server.url) as client:
                figures = _progress(client, jobs)
                each = _Turns(server, folder, client, jobs)
                plain, batch = zip(
                    *[
                        (each.rates(in_batch=False), each.rates(in_batch=True))
                        for _ in range(turns)
                    ],
                    strict=True,
                )
        finally:
            server.stop()
    for place, what in enumerate(("sent", "scored")):
        plain_rate = statistics.median(rates[place] for rates in plain)
        batch_rate = statistics.median(rates[place] for rates in batch)
        figures[f"plain_{what}_per_s"] = round(plain_rate)
        figures[f"batch_{what}_per_s"] = round(batch_rate)
        figures[f"batch_{what}_ratio"] = round(batch_rate / plain_rate, 3)
    return figures


def main() -> None:
    """Measure, and print the figures."""
    parser = argument_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    show(measure(jobs=options.jobs, turns=options.turns), as_json=options.json)


if __name__ == "__main__":
    main()
