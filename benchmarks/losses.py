"""Jobs lost when a worker is killed or disconnected while it takes jobs: stock Celery and sentq.

    python -m benchmarks.losses [--json] [--times N]

Both acknowledge late, and redeliver the jobs of a killed worker after five seconds. A proxy between
Redis and the worker injects the fault at the bytes that deliver a job. A job is lost if it is in no
queue, in flight on no worker, and without a result when all other jobs have one.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.figures import argument_parser, show
from sentq import Client, Job, JobStatus
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess, WorkerProcess, eventually
from tests.support.proxy import TAKE, Proxy, Trap

STOCK: Final = (
    *("celery", "-A", "tests.support.workers.stock", "worker", "-P", "solo"),
    *("-l", "INFO", "-Q", "sentq", "--without-mingle", "--without-gossip"),
)
SENTQ: Final = ("tests.support.workers.standin",)

#: The steps of a delivery: the reply of Redis, and the worker's record of the delivery.
STEPS: Final[dict[str, tuple[Sequence[str], tuple[Trap, ...]]]] = {
    "stock": (STOCK, (Trap(b"BRPOP", on_reply=True), Trap(b"ZADD"))),
    "sentq": (SENTQ, (Trap(TAKE, on_reply=True), Trap(TAKE))),
}

_VISIBILITY_TIMEOUT_S: Final = 5
_JOBS_PER_FAULT: Final = 10


def lost(folder: Path, command: Sequence[str], plan: Trap, *, times: int, kill: bool) -> int:
    """Inject a fault `times` times, and return the number of lost jobs."""
    redis = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
    environment = {"SENTQ_VISIBILITY_TIMEOUT_S": str(_VISIBILITY_TIMEOUT_S)}
    jobs: list[Job] = []

    def start(url: str) -> WorkerProcess:
        worker = WorkerProcess(folder, environment | {"SENTQ_BROKER_URL": url}, command)
        return worker.wait_until_ready()

    with Proxy(redis.port) as proxy, Client(broker_url=redis.url) as client:
        worker = start(proxy.url)
        for _ in range(times):
            if worker.process.poll() is not None:
                proxy.trap = None
                worker = start(proxy.url)
            action: Callable[[], None] = (
                partial(os.kill, worker.process.pid, signal.SIGKILL) if kill else (lambda: None)
            )
            trap = proxy.trap = Trap(plan.pattern, action, on_reply=plan.on_reply)
            jobs += client.submit_many([f"text {n}" for n in range(_JOBS_PER_FAULT)])
            eventually(partial(getattr, trap, "hits"), within_s=60, what="the fault")
            if kill:
                worker.process.wait()
        proxy.trap = None
        if worker.process.poll() is not None:
            worker = start(proxy.url)
        with redis.client() as connection:
            # After this time in-flight jobs are redelivered and have results; other jobs are lost.
            idle_since = time.monotonic()
            while time.monotonic() - idle_since < 2 * _VISIBILITY_TIMEOUT_S:
                if connection.llen("sentq") or connection.hlen("unacked"):
                    idle_since = time.monotonic()
                time.sleep(0.1)
        missing = sum(job.status() is not JobStatus.DONE for job in jobs)
        worker.stop()
    redis.stop()
    return missing


def measure(times: int) -> dict[str, int]:
    """Return the lost jobs of stock Celery and sentq, by fault."""
    figures = {"faults_of_each_kind": times}
    for name, (command, plans) in STEPS.items():
        for kill in (True, False):
            total = 0
            for plan in plans:
                with tempfile.TemporaryDirectory() as folder:
                    total += lost(Path(folder), command, plan, times=times, kill=kill)
            figures[f"{name}_lost_by_{'kills' if kill else 'cuts'}"] = total
    return figures


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    parser = argument_parser(__doc__)
    parser.add_argument("--times", type=int, default=5, help="faults of each kind at each step")
    options = parser.parse_args()
    show(measure(options.times), as_json=options.json)


if __name__ == "__main__":
    main()
