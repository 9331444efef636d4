"""Interactive jobs beside a job that costs far more than its size suggests: how long they wait.

    python -m benchmarks.interactive [--json] [--jobs N] [--dtype D] [--attack-chars N]

The attack is one job whose texts have a token for each character. Beside it come jobs of one short
text at a steady rate. One run measures both ways: with `yield_after_s` as it is by default, and
with a value so large that no batch yields, as it was before. Then all interactive jobs wait until
the attack is scored, so by default it is smaller than the limits permit.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import sentq_model
from benchmarks.figures import argument_parser, show
from sentq import Client, Job
from sentq.contract import Prediction
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess, WorkerProcess, worker_environment

__all__ = ["Latencies", "attack_texts", "score_interactive_jobs"]

#: For how long one job may wait.
_TIMEOUT_S: Final = 900

#: No batch computes for longer.
_NEVER_S: Final = 100_000

#: How long the worker gets to take the attack.
_HEAD_START_S: Final = 0.3

_TEXT: Final = "The room was clean and quiet, and breakfast was good."

_CHARS_PER_TEXT: Final = 99_000


@dataclass(frozen=True, slots=True)
class Latencies:
    """Times from the sending of a job to its result, in seconds, in ascending order."""

    sorted_s: Sequence[float]

    @property
    def longest_s(self) -> float:
        """The longest."""
        return self.sorted_s[-1]

    def percentile_s(self, percent: float) -> float:
        """Return the latency that so many percent of the jobs do not exceed."""
        return self.sorted_s[int(percent / 100 * (len(self.sorted_s) - 1))]


def attack_texts(chars: int, *, unit: str = "!") -> list[str]:
    """Return different texts of so many characters in all, each of which is a token. A letter at
    the beginning is the word without which they would not be scored."""
    count = -(-chars // _CHARS_PER_TEXT)
    return [f"a{unit * (chars // count - number - 1)}" for number in range(count)]


def score_interactive_jobs(client: Client, *, count: int, interval_s: float) -> Latencies:
    """Send jobs of one short text, one each `interval_s`, whether or not the last one is answered.

    The results are read in the order of sending, which is the order in which a worker scores such
    jobs.
    """
    with ThreadPoolExecutor(max_workers=1) as reader:
        latencies = []
        for number in range(count):
            sent_at = time.monotonic()
            job = client.submit([f"{_TEXT} {number}"])
            latencies.append(reader.submit(partial(_latency_s, job, sent_at)))
            time.sleep(max(0.0, sent_at + interval_s - time.monotonic()))
        return Latencies(sorted(latency.result() for latency in latencies))


def _latency_s(job: Job, sent_at: float) -> float:
    (outcome,) = job.result(timeout=_TIMEOUT_S).outcomes
    if not isinstance(outcome, Prediction):
        raise TypeError(f"an interactive job ended in {outcome.code}")
    return time.monotonic() - sent_at


def measure(
    options: Mapping[str, str], *, jobs: int, interval_s: float, attack_chars: int
) -> dict[str, float]:
    """Return the latencies beside the attack, and when attack and jobs ended.

    Args:
        options: Variables of the worker's environment.
        jobs: The number of interactive jobs.
        interval_s: The time between two of them.
        attack_chars: The characters of the attack.
    """
    with tempfile.TemporaryDirectory(prefix="sentq-bench-") as name:
        folder = Path(name)
        server = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        environment = worker_environment(server.url, Path(sentq_model.folder())) | dict(options)
        worker = WorkerProcess(folder, environment).wait_until_ready()
        try:
            with Client(broker_url=server.url) as client:
                client.submit([_TEXT]).result(timeout=_TIMEOUT_S)
                started = time.monotonic()
                attack = client.submit(attack_texts(attack_chars))
                time.sleep(_HEAD_START_S)
                latencies = score_interactive_jobs(client, count=jobs, interval_s=interval_s)
                interactive_s = time.monotonic() - started
                attack.result(timeout=_TIMEOUT_S)
                attack_s = time.monotonic() - started
        finally:
            worker.stop()
            server.stop()
    return {
        "longest_s": latencies.longest_s,
        "p99_s": latencies.percentile_s(99),
        "p50_s": latencies.percentile_s(50),
        "all_answered_after_s": interactive_s,
        "attack_scored_after_s": attack_s,
    }


def main() -> None:
    """Measure both ways, and print the figures."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--jobs", type=int, default=200, help="interactive jobs (%(default)s)")
    add("--interval-ms", type=float, default=50.0, help="time between two (%(default)s)")
    add("--attack-chars", type=int, default=99_000, help="size of the attack (%(default)s)")
    add("--dtype", default="auto", help="data type of the model (%(default)s)")
    options = parser.parse_args()
    common = {"SENTQ_WORKER_DTYPE": options.dtype, "SENTQ_WORKER_DEVICE": "cpu"}
    ways = {
        "yielding": common,
        "not_yielding": common | {"SENTQ_WORKER_YIELD_AFTER_S": str(_NEVER_S)},
    }
    figures: dict[str, object] = {"attack_chars": options.attack_chars, "jobs": options.jobs}
    for name, way in ways.items():
        measured = measure(
            way,
            jobs=options.jobs,
            interval_s=options.interval_ms / 1000,
            attack_chars=options.attack_chars,
        )
        figures |= {f"{name}_{key}": round(value, 3) for key, value in measured.items()}
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
