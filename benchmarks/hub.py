"""Throughput of a worker with the Hub as its provider: texts per second, at 100 ms per call.

    python -m benchmarks.hub [--json] [--texts N] [--latency-ms MS] [--in-flight N] [--repeat N]

A real worker with the provider `hub`, and a fake Hub on this machine in a process of its own. The
upper limit is in-flight / latency texts per second.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks.figures import argument_parser
from sentq import Client
from sentq.dev.embedded import find_redis_server
from sentq.dev.fakehub import fake_hub, fake_hub_settings
from tests.support.processes import RedisProcess, WorkerProcess


def texts_per_s(client: Client, texts: int, *, run: int) -> float:
    """Return texts per second, from the first text sent to the last outcome read."""
    jobs = [f"run {run}: what a lovely day, said number {number}" for number in range(texts)]
    started = time.perf_counter()
    outcomes = list(client.results(client.submit_many(jobs)))
    elapsed_s = time.perf_counter() - started
    backends = {getattr(outcome, "backend", None) for outcome in outcomes}
    if len(outcomes) != texts or backends != {"hub"}:
        raise SystemExit(f"{len(outcomes)} of {texts} texts have outcomes, from {backends}")
    return texts / elapsed_s


def measure(
    folder: Path, *, texts: int, latency_ms: float, in_flight: int, repeat: int
) -> dict[str, float]:
    """Return the rate of the fastest run, and its share of the upper limit."""
    redis = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
    with fake_hub("--latency-ms", str(latency_ms)) as url:
        environment = fake_hub_settings(url) | {
            "SENTQ_BROKER_URL": redis.url,
            "SENTQ_WORKER_PROVIDER": "hub",
            "SENTQ_WORKER_HUB_IN_FLIGHT": str(in_flight),
        }
        worker = WorkerProcess(folder, os.environ | environment).wait_until_ready()
        try:
            with Client(broker_url=redis.url) as client:
                rates = [texts_per_s(client, texts, run=run) for run in range(repeat)]
        finally:
            worker.stop()
            redis.stop()
    possible = in_flight / (latency_ms / 1000)
    best = max(rates)
    return {
        "texts_per_s": best,
        "worst_texts_per_s": min(rates),
        "possible_texts_per_s": possible,
        "share": best / possible,
    }


def main() -> None:
    """Print the figures: one line, or one JSON object."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--texts", type=int, default=1_000, help="texts per run (%(default)s)")
    add("--latency-ms", type=float, default=100.0, help="time per call (%(default)s)")
    add("--in-flight", type=int, default=16, help="concurrent calls (%(default)s)")
    add("--repeat", type=int, default=3, help="runs (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sentq-bench-") as folder:
        figures = measure(
            Path(folder),
            texts=options.texts,
            latency_ms=options.latency_ms,
            in_flight=options.in_flight,
            repeat=options.repeat,
        )
    if options.json:
        print(json.dumps(figures))
        return
    print(
        f"{figures['texts_per_s']:.1f} texts/s of {figures['possible_texts_per_s']:.0f} possible: "
        f"{figures['share']:.3f} (the slowest run: {figures['worst_texts_per_s']:.1f})"
    )


if __name__ == "__main__":
    main()
