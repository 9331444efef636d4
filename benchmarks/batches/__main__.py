"""The cost of batches: reading their progress, sending and scoring their jobs.

    python -m benchmarks.batches [--json] [--jobs N] [--turns N]

Progress is read 1,000 times when a hundredth of the jobs has ended, and when all but a hundredth
have. Beside it, the same counts are found by reading the outcome of each job, as `GroupResult` of
Celery does. Jobs of a batch and plain ones are sent and scored in turn, by a worker whose engine
returns at once; worker and Redis share one core.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.batches.turns import TEXT, rates
from benchmarks.figures import argument_parser, show
from sentq import Batch, Client
from sentq.dev.embedded import find_redis_server
from sentq.wire.batches import BatchPlace
from sentq_worker.broker.results import ResultStore, succeeded
from tests.support.processes import RedisProcess

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
    batch = client.batch(TEXT for _ in range(jobs))
    ids = [job.id for job in batch.jobs()]
    figures: dict[str, float] = {}
    ended = 0
    for name, part in (("1_percent", jobs // 100), ("99_percent", jobs - jobs // 100)):
        _end(client, batch, ids[ended:part], ended)
        ended = part
        figures[f"progress_us_at_{name}"] = round(_read_us(batch), 1)
        figures[f"reading_outcomes_ms_at_{name}"] = round(_count_by_reading_ms(client, ids), 1)
    return figures


def measure(*, jobs: int, turns: int) -> dict[str, float]:
    """Measure all figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        try:
            with Client(broker_url=server.url) as client:
                figures = _progress(client, jobs)
                texts = [TEXT] * jobs
                senders = (
                    partial(client.submit_many, texts, bulk=True),
                    partial(client.batch, texts),
                )
                plain, batch = zip(
                    *[
                        [rates(server, folder, send, jobs) for send in senders]
                        for _ in range(turns)
                    ],
                    strict=True,
                )
        finally:
            server.stop()
    for place, what in enumerate(("sent", "scored")):
        plain_rate = statistics.median(each[place] for each in plain)
        batch_rate = statistics.median(each[place] for each in batch)
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
