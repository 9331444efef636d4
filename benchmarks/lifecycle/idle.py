"""A worker without jobs: how many commands it sends to Redis, and how fast a job wakes it.

    python -m benchmarks.lifecycle.idle [--json] [--before FOLDER] [--seconds S] [--jobs N]

The worker's model is a stand-in that takes no time. Commands are counted by MONITOR, those of
scripts apart, after the worker has had no job for some time. Wake-up is the time from sending a job
to its outcome, after a pause without jobs.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final

import redis

from benchmarks.attacks.checkout import Checkout
from benchmarks.figures import show
from benchmarks.lifecycle.checkouts import checkouts, named, parser_with_before
from sentq import Client
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess, WorkerProcess

__all__ = ["count_commands", "main"]

#: After such a pause a worker looks as rarely as it ever does.
_PAUSE_S: Final = 15.0

#: Pauses before interactive jobs differ, so that jobs come at all points of a wait.
_INTERACTIVE_PAUSES_S: Final = (1.0, 3.0)

#: A bulk job waits at most for a tenth of the pause, and one second. So jobs come after a pause of
#: eleven to thirteen seconds.
_BULK_PAUSES_S: Final = (11.0, 13.0)

_TIMEOUT_S: Final = 30


def count_commands(server: redis.Redis, seconds: float) -> tuple[Counter[str], int]:
    """Count for so many seconds which commands Redis gets.

    Returns:
        How often each command was sent, and how many commands scripts have run.
    """
    sent: Counter[str] = Counter()
    of_scripts = 0
    end_at = time.monotonic() + seconds
    with server.monitor() as monitor:
        # A command of our own ends the last wait.
        threading.Timer(seconds, server.ping).start()
        for found in monitor.listen():
            if time.monotonic() >= end_at:
                break
            if found["client_type"] == "lua":
                of_scripts += 1
            else:
                sent[found["command"].partition(" ")[0].upper()] += 1
    return sent, of_scripts


def _wake_up_s(client: Client, pauses_s: tuple[float, float], jobs: int, *, bulk: bool) -> float:
    """Return the median time from sending a job to its outcome, after a pause."""
    times_s = []
    for _ in range(jobs):
        time.sleep(random.uniform(*pauses_s))  # noqa: S311
        began_at = time.perf_counter()
        client.submit("Wake up.", bulk=bulk).result(timeout=_TIMEOUT_S)
        times_s.append(time.perf_counter() - began_at)
    return statistics.median(times_s)


def _measure(checkout: Checkout, seconds: float, jobs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = RedisProcess(find_redis_server(), folder).start()
        environment = checkout.environment(SENTQ_BROKER_URL=server.url)
        worker = WorkerProcess(folder, environment, ("benchmarks.instant",))
        try:
            worker.wait_until_ready()
            with server.client() as connection, Client(broker_url=server.url) as client:
                client.submit("The first job.").result(timeout=_TIMEOUT_S)
                time.sleep(_PAUSE_S)
                sent, of_scripts = count_commands(connection, seconds)
                interactive_s = _wake_up_s(client, _INTERACTIVE_PAUSES_S, jobs, bulk=False)
                bulk_s = _wake_up_s(client, _BULK_PAUSES_S, max(1, jobs // 4), bulk=True)
        finally:
            worker.stop()
            server.stop()
    return {
        "commands_per_s": round(sent.total() / seconds, 2),
        "commands_with_scripts_per_s": round((sent.total() + of_scripts) / seconds, 2),
        "wake_up_interactive_ms": round(interactive_s * 1000, 2),
        "wake_up_bulk_ms": round(bulk_s * 1000, 1),
        **{f"{name.lower()}_per_s": round(n / seconds, 2) for name, n in sent.most_common()},
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = parser_with_before(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to count commands")
    parser.add_argument("--jobs", type=int, default=20, help="how many jobs wake the worker")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    for name, checkout in checkouts(options).items():
        figures |= named(name, _measure(checkout, options.seconds, options.jobs))
    if options.before is not None:
        ratio = figures["before_commands_per_s"] / figures["now_commands_per_s"]
        figures["fewer_commands"] = round(ratio, 1)
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
