"""How much of what the Hub gives a worker takes: texts a second, at 100 ms a call.

    python -m benchmarks.hub [--json] [--texts N] [--latency-ms MS] [--in-flight N] [--repeat N]

A real worker with the policy `hub`, and a Hub on this machine in a process of its own. With so many
calls in flight that each take so long, more than in-flight / latency texts a second cannot be had.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from sentq import Client
from sentq.dev.embedded import find_redis_server
from sentq.dev.fakehub import fake_hub, fake_hub_settings
from tests.support.processes import RedisProcess, WorkerProcess


def texts_per_s(client: Client, texts: int, *, run: int) -> float:
    """Texts answered a second, from the first one sent to the last outcome read."""
    jobs = [f"run {run}: what a lovely day, said number {number}" for number in range(texts)]
    began = time.perf_counter()
    outcomes = list(client.results(client.submit_many(jobs)))
    elapsed_s = time.perf_counter() - began
    answered = {getattr(outcome, "backend", "nobody") for outcome in outcomes}
    if len(outcomes) != texts or answered != {"hub"}:
        raise SystemExit(f"{len(outcomes)} of {texts} answered, by {answered}")
    return texts / elapsed_s


def measure(
    folder: Path, *, texts: int, latency_ms: float, in_flight: int, repeat: int
) -> dict[str, float]:
    """The best of so many runs, and the share of what is possible."""
    redis = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
    with fake_hub("--latency-ms", str(latency_ms)) as url:
        told = fake_hub_settings(url) | {
            "SENTQ_BROKER_URL": redis.url,
            "SENTQ_WORKER_PROVIDER": "hub",
            "SENTQ_WORKER_HUB_IN_FLIGHT": str(in_flight),
        }
        worker = WorkerProcess(folder, os.environ | told).wait_until_ready()
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
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--texts", type=int, default=1_000)
    parser.add_argument("--latency-ms", type=float, default=100.0)
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sentq-bench-") as folder:
        found = measure(
            Path(folder),
            texts=options.texts,
            latency_ms=options.latency_ms,
            in_flight=options.in_flight,
            repeat=options.repeat,
        )
    if options.json:
        print(json.dumps(found))
        return
    print(
        f"{found['texts_per_s']:.1f} texts/s of {found['possible_texts_per_s']:.0f} possible: "
        f"{found['share']:.3f} (the slowest run: {found['worst_texts_per_s']:.1f})"
    )


if __name__ == "__main__":
    main()
